import { expectOneOf } from '../base/checks.js';
import { ConfigError, ShapeError } from '../base/errors.js';
import { expectOptions, given } from '../base/rows.js';
import type { BackendName, HeldWeights, ResolvedDevice } from '../binding/devices.js';
import type { NativeLayerSpec, NativeMoEConfig } from '../binding/native.js';
import type { LayerViews } from '../binding/views.js';
import { hasScales, weightGroupsOf } from '../binding/weight_formats.js';
import { MoEConfig } from '../config/config.js';
import { defaults, routerRows } from '../config/fields.js';
import { checkChoices, expectGivenChoices, expectRouter, tableOf } from './choices.js';
import {
  type Activation,
  type ExpertOptions,
  expertRows,
  isGated,
  nativeActivations,
} from './experts.js';
import {
  type ActivationType,
  type HeldOptions,
  heldRows,
  type LayerOptions,
  type LoadOptions,
  layerRows,
  type WeightGroup,
  type WeightType,
} from './options.js';
import { viewsOf } from './tensor_views.js';
import { type LayerWeights, storedType } from './weights.js';

/** A layer ready to be handed to the native side: checked options, and where the weights stand. */
export interface LayerParts
  extends HeldOptions,
    ExpertOptions,
    Pick<LoadOptions, 'onProgress' | 'signal'> {
  config: MoEConfig;
  hiddenSize: number;
  intermediateSize: number;
  /** Width of the shared expert, 0 without one. */
  sharedSize: number;
  activation: Activation;
  weightType: WeightType;
  views: LayerViews;
  /** What the layer's `diagnostics` say of its weights. */
  notes?: readonly string[] | undefined;
}

const defaultMaxQueue = 1024;

/** Checks the options of `MoELayer.create` and finds where each weight stands. */
export function partsOf(options: LayerOptions): LayerParts {
  expectOptions('MoELayer.create', options, layerRows);
  const { hiddenSize, intermediateSize, weights } = options;
  const experts = { activation: 'swiglu' as const, ...given(expertRows, options) };
  const config =
    options.config instanceof MoEConfig ? options.config : new MoEConfig(options.config);
  const sharedSize = sharedSizeOf(config, intermediateSize, weights);
  const sizes = {
    ...{ expertNum: config.expertNum, routerRows: routerRows(config) },
    ...{ hiddenSize, intermediateSize, sharedSize, latentSize: experts.latentSize },
  };
  const views: LayerViews = viewsOf(weights, sizes, {
    routed: isGated(experts.activation),
    shared: isGated(experts.sharedActivation ?? experts.activation),
  });
  if (weights.expertTable !== undefined) views.expertTable = tableOf(weights.expertTable);
  const parts = { config, hiddenSize, intermediateSize, sharedSize, ...experts, views };
  return { ...parts, weightType: storedType(views, options.device), ...given(heldRows, options) };
}

function sharedSizeOf(config: MoEConfig, intermediateSize: number, weights: LayerWeights): number {
  const wanted = Math.round(config.sharedExpertNum * intermediateSize);
  if (wanted === 0 && weights.shared !== undefined)
    throw new ConfigError('Expected no `weights.shared`: `sharedExpertNum` is 0');
  if (wanted > 0 && weights.shared === undefined)
    throw new ShapeError(
      `Expected \`weights.shared\` of width ${wanted}: \`sharedExpertNum\` is ${config.sharedExpertNum}`,
    );
  return wanted;
}

/** Whether a device is to be asked how it holds weights: floats are held by themselves. */
export const dependsOnDevice = ({ weightType, activationType }: LayerParts): boolean =>
  hasScales(weightType) || isRounded(activationType);

const isRounded = (type: ActivationType | undefined): type is ActivationType =>
  type !== undefined && type !== 'float';

/**
 * Refuses parts that do not mean one layer together, wherever they come from.
 *
 * @param held how the device can hold weights; undefined where it is not here: it is refused when it is opened, with the
 *   reason
 */
export function checkParts(
  { config, intermediateSize, weightType, weightGroup, activationType, views }: LayerParts,
  { backend }: ResolvedDevice,
  held: readonly HeldWeights[] | undefined,
): void {
  if (weightGroup !== undefined) expectWeightGroup(weightType, weightGroup);
  if (isRounded(activationType) && held) expectRows(activationType, weightType, backend, held);
  if (views.expertTable !== undefined) {
    expectGivenChoices('weights.expertTable', config);
    checkChoices('weights.expertTable', views.expertTable, config);
  }
  if (views.packed !== undefined) return; // checked when it was packed
  if (views.expertScale !== undefined) expectRouter('weights.expertScale', config);
  const { moeIntermediateSize } = config;
  if (
    moeIntermediateSize !== defaults.moeIntermediateSize &&
    moeIntermediateSize !== intermediateSize
  )
    throw new ConfigError(
      `Expected \`moeIntermediateSize\` to be the layer's intermediateSize ${intermediateSize}, got \`${moeIntermediateSize}\``,
    );
  expectTogether(
    'weights.shared.router',
    views.sharedRouter,
    'useSharedExpertGating',
    config.useSharedExpertGating,
  );
  expectTogether(
    'weights.routerCorrectionBias',
    views.routerCorrectionBias,
    'balanceViaTopkBias',
    config.balanceViaTopkBias,
  );
}

function expectWeightGroup(weightType: WeightType, weightGroup: WeightGroup): void {
  if (!hasScales(weightType))
    throw new ConfigError(
      `Expected no \`weightGroup\`: ${weightType} weights have ${weightType === 'published' ? 'the groups that they were published with' : 'no scales'}`,
    );
  expectOneOf('weightGroup', weightGroup, weightGroupsOf(weightType));
}

function expectRows(
  activationType: ActivationType,
  weightType: WeightType,
  backend: BackendName,
  held: readonly HeldWeights[],
): void {
  const weightTypes = held
    .filter(({ activationTypes }) => activationTypes.includes(activationType))
    .map(({ type }) => type);
  if (weightTypes.length === 0) {
    const known = [...new Set(held.flatMap(({ activationTypes }) => activationTypes))];
    throw new ConfigError(
      `Expected \`activationType\` '${known.join("' or '")}': '${backend}' has no other, got '${activationType}'`,
    );
  }
  if (!weightTypes.includes(weightType))
    throw new ConfigError(
      `Expected \`activationType\` '${activationType}' with weightType '${weightTypes.join("' or '")}', got '${weightType}'`,
    );
}

/** The inputs that share a scale, by default the device's own; undefined for weights without scales. */
export function weightGroupOf(
  { weightType, weightGroup }: Pick<LayerParts, 'weightType' | 'weightGroup'>,
  held: readonly HeldWeights[] | undefined,
): WeightGroup | undefined {
  if (!hasScales(weightType)) return undefined;
  const ofType = held?.find(({ type }) => type === weightType);
  return weightGroup ?? (ofType?.groups[0] as WeightGroup | undefined) ?? 'all';
}

/** The same as the native side takes it: 0 without scales, and where all inputs of an output share one. */
export function nativeWeightGroup(...parts: Parameters<typeof weightGroupOf>): number {
  const group = weightGroupOf(...parts) ?? 'all';
  return group === 'all' ? 0 : group;
}

/** A layer as the native side takes it, defaults applied. */
export function nativeSpec(
  moe: NativeMoEConfig,
  parts: LayerParts,
  held: readonly HeldWeights[] | undefined,
): NativeLayerSpec {
  const { hiddenSize, intermediateSize, sharedSize, latentSize = 0, weightType } = parts;
  const { activationType = 'float', threads = 0, maxQueue = defaultMaxQueue } = parts;
  const weightGroup = nativeWeightGroup(parts, held);
  const sizes = { hiddenSize, intermediateSize, sharedSize, latentSize };
  const computed = nativeActivations(parts, sharedSize > 0);
  return {
    ...{ moe, ...sizes, ...computed },
    ...{ weightType, weightGroup, activationType, threads, maxQueue },
  };
}

function expectTogether(weight: string, view: unknown, field: string, asked: boolean): void {
  if (asked && view === undefined)
    throw new ShapeError(`Expected \`${weight}\`: \`${field}\` is true`);
  if (!asked && view !== undefined)
    throw new ConfigError(`Expected no \`${weight}\`: \`${field}\` is false`);
}
