import { unexpected } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import type { NativeMoEConfig, NativeParallel } from '../binding/native.js';
import type { LayerWeightViews } from '../binding/views.js';
import type { MoEConfig } from '../config/config.js';
import { toNativeConfig } from '../config/native.js';
import { ExpertGroup } from '../group/group.js';
import type { ExpertPlacement } from '../group/placement.js';

/** How a layer is spread over ranks. */
export interface ParallelOptions {
  /** The ranks that share the layer's experts. Defaults to none: all experts are here. */
  group?: ExpertGroup | undefined;
  /** Lets the first ranks hold one expert more where ranks do not divide the experts. Defaults to false: refused. */
  unevenExperts?: boolean | undefined;
  /** Where experts are, as `planPlacement` proposes. Defaults to consecutive experts on each rank. */
  placement?: ExpertPlacement | undefined;
}

/** The config as native code takes it, and how the layer is spread; `parallel` is absent without a group. */
export interface NativeSetting {
  moe: NativeMoEConfig;
  parallel?: Omit<NativeParallel, 'facts'>;
}

/**
 * What the options mean for a layer of this shape. MindFormers' checks of a whole system are made here.
 *
 * @throws `ConfigError`
 */
export function nativeSetting(
  config: MoEConfig,
  {
    group,
    unevenExperts = false,
    placement,
    ...sizes
  }: ParallelOptions & {
    hiddenSize: number;
    intermediateSize: number;
    latentSize?: number | undefined;
  },
): NativeSetting {
  if (group === undefined) {
    if (placement !== undefined)
      throw new ConfigError('Expected no `placement` without a `group`: all experts are here');
    return { moe: toNativeConfig(config) };
  }
  const { modelParallel, expertParallel } = group;
  const { hiddenSize, intermediateSize, latentSize } = sizes;
  const cut = latentSize === undefined ? { hiddenSize } : { latentSize };
  for (const [name, size] of Object.entries({ ...cut, intermediateSize }))
    if (size % modelParallel !== 0)
      throw new ConfigError(
        `Expected \`${name}\` to be a multiple of \`modelParallel\` ${modelParallel}, got ${size}`,
      );
  const experts = expertsOf(config, expertParallel, unevenExperts, placement);
  return {
    moe: toNativeConfig(config, {
      modelParallel,
      expertParallel: lossGroups(config, expertParallel),
    }),
    parallel: {
      group: group.native,
      expertsOfSet: experts.map((list) => Int32Array.from(list)),
      chunks: config.compCommParallel ? config.compCommParallelDegree : 1,
      groupWise: config.groupWiseA2a,
    },
  };
}

/**
 * The views with the experts of the rank's own set only. Packed weights stay whole: what is not used is not read.
 *
 * @throws `ConfigError` for packed weights with model parallelism
 */
export function ownViews(
  views: LayerWeightViews,
  group: ExpertGroup,
  { expertsOfSet }: NativeParallel,
) {
  if (views.packed !== undefined) {
    if (group.modelParallel === 1) return views;
    throw new ConfigError(
      `Expected \`modelParallel\` 1 with packed weights, whose columns are packed as a whole, got ${group.modelParallel}`,
    );
  }
  const own = expertsOfSet[Math.floor(group.rank / group.modelParallel)] as Int32Array;
  return {
    ...views,
    experts: Array.from(own, (expert) => views.experts[expert] as (typeof views.experts)[number]),
  };
}

/** The experts whose weights a rank reads; all of them without a group. */
export function heldExperts(
  config: MoEConfig,
  { group, unevenExperts = false, placement }: ParallelOptions,
): readonly number[] {
  if (group === undefined) return Array.from({ length: config.expertNum }, (_, expert) => expert);
  const set = Math.floor(group.rank / group.modelParallel);
  return expertsOf(config, group.expertParallel, unevenExperts, placement)[
    set
  ] as readonly number[];
}

function expertsOf(
  { expertNum }: MoEConfig,
  sets: number,
  uneven: boolean,
  placement: ExpertPlacement | undefined,
): readonly (readonly number[])[] {
  if (placement !== undefined) return placed(placement, sets);
  if (expertNum < sets)
    throw new ConfigError(
      `Expected \`expertNum\` to be at least expertParallel ${sets}, got ${expertNum}: a rank would hold no expert`,
    );
  if (expertNum % sets !== 0 && !uneven)
    throw new ConfigError(
      `Expected \`expertNum\` to be a multiple of expertParallel ${sets}, got ${expertNum}; \`unevenExperts\` allows it`,
    );
  const each = Math.floor(expertNum / sets);
  let next = 0;
  return Array.from({ length: sets }, (_, set) =>
    Array.from({ length: each + (set < expertNum % sets ? 1 : 0) }, () => next++),
  );
}

function placed({ expertsOfRank }: ExpertPlacement, sets: number) {
  if (expertsOfRank.length !== sets)
    throw new ConfigError(
      `Expected \`placement.expertsOfRank\` to have a list for each of ${sets} ranks, got ${expertsOfRank.length}`,
    );
  return expertsOfRank;
}

export function expectGroup(name: string, value: unknown): asserts value is ExpertGroup {
  if (!(value instanceof ExpertGroup))
    throw unexpected(name, 'an ExpertGroup, as `ExpertGroup.join` makes it', value);
}

/** MindFormers' `comm` loss averages over the experts of each set. */
function lossGroups({ expertNum, auxLossTypes }: MoEConfig, sets: number): number {
  if (expertNum % sets === 0) return sets;
  if (auxLossTypes?.includes('comm'))
    throw new ConfigError(
      `Expected \`expertNum\` to be a multiple of expertParallel ${sets} with the loss 'comm', got ${expertNum}`,
    );
  return 1;
}
