import { expectOneOf } from '../base/checks.js';
import { ConfigError, ShapeError } from '../base/errors.js';
import { expectOptions, given } from '../base/rows.js';
import { heldWeights, type ResolvedDevice, resolveDevice } from '../binding/devices.js';
import type { NativeLayerSpec, NativeMoEConfig } from '../binding/native.js';
import type { LayerViews } from '../binding/views.js';
import { MoEConfig } from '../config/config.js';
import { defaults, routerRows } from '../config/fields.js';
import { checkChoices, expectGivenChoices, expectRouter, tableOf } from './choices.js';
import {
  type Activation,
  type HeldOptions,
  heldRows,
  type LayerOptions,
  type LoadOptions,
  layerRows,
  type WeightGroup,
  type WeightType,
  weightGroups,
} from './options.js';
import { viewsOf } from './tensor_views.js';
import { type LayerWeights, storedType } from './weights.js';

/** A layer ready to be handed to the native side: checked options, and where the weights stand. */
export interface LayerParts extends HeldOptions, Pick<LoadOptions, 'onProgress' | 'signal'> {
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

export const isGated = (activation: Activation): boolean =>
  activation === 'swiglu' || activation === 'swiglu_oai' || activation === 'geglu';

/** Checks the options of `MoELayer.create` and finds where each weight stands. */
export function partsOf(options: LayerOptions): LayerParts {
  expectOptions('MoELayer.create', options, layerRows);
  const { hiddenSize, intermediateSize, weights, activation = 'swiglu' } = options;
  const config =
    options.config instanceof MoEConfig ? options.config : new MoEConfig(options.config);
  const sharedSize = sharedSizeOf(config, intermediateSize, weights);
  const sizes = {
    expertNum: config.expertNum,
    routerRows: routerRows(config),
    hiddenSize,
    intermediateSize,
    sharedSize,
  };
  const views: LayerViews = viewsOf(weights, sizes, isGated(activation));
  if (weights.expertTable !== undefined) views.expertTable = tableOf(weights.expertTable);
  const parts = { config, hiddenSize, intermediateSize, sharedSize, activation, views };
  return { ...parts, weightType: storedType(views), ...given(heldRows, options) };
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

/** Refuses parts that do not mean one layer together, wherever they come from. */
export function checkParts({
  config,
  intermediateSize,
  weightType,
  weightGroup,
  activationType,
  views,
  device,
}: LayerParts): void {
  if (weightGroup !== undefined) expectWeightGroup(weightType, weightGroup);
  if (activationType === 'int8') expectInt8Activations(weightType, resolveDevice(device));
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
  if (!isQuantized(weightType))
    throw new ConfigError(`Expected no \`weightGroup\`: ${weightType} weights have no scales`);
  const groups = weightGroups.filter((group) => weightType === 'int8' || group !== 'all');
  expectOneOf('weightGroup', weightGroup, groups);
}

/** A device that is not here is refused when it is opened, with the reason. */
function expectInt8Activations(weightType: WeightType, device: ResolvedDevice): void {
  const held = heldWeights(device);
  if (held === undefined) return;
  const weightTypes = held.filter(({ int8Rows }) => int8Rows).map(({ type }) => type);
  if (weightTypes.length === 0)
    throw new ConfigError(`Expected \`activationType\` 'float': '${device.backend}' has no other`);
  if (!weightTypes.includes(weightType))
    throw new ConfigError(
      `Expected \`activationType\` 'int8' with weightType '${weightTypes.join("' or '")}', got '${weightType}'`,
    );
}

/** A layer as the native side takes it, defaults applied. */
export function nativeSpec(
  moe: NativeMoEConfig,
  parts: LayerParts,
  device: ResolvedDevice,
): NativeLayerSpec {
  const { hiddenSize, intermediateSize, sharedSize, activation, weightType } = parts;
  const { activationType = 'float', threads = 0, maxQueue = defaultMaxQueue } = parts;
  const weightGroup = nativeWeightGroup(weightType, parts.weightGroup, device);
  const sizes = { hiddenSize, intermediateSize, sharedSize };
  const held = { activation, weightType, weightGroup, activationType };
  return { moe, ...sizes, ...held, threads, maxQueue };
}

/** Inputs that share a scale, as the native side counts them: 0 for all of an output's, and for floats. */
function nativeWeightGroup(
  weightType: WeightType,
  weightGroup: WeightGroup | undefined,
  device: ResolvedDevice,
): number {
  if (!isQuantized(weightType)) return 0;
  if (weightGroup !== undefined) return weightGroup === 'all' ? 0 : weightGroup;
  return heldWeights(device)?.find(({ type }) => type === weightType)?.groups[0] ?? 0;
}

/** Whether weights of this type have scales. */
export const isQuantized = (weightType: WeightType): boolean =>
  weightType === 'int8' || weightType === 'int4';

function expectTogether(weight: string, view: unknown, field: string, asked: boolean): void {
  if (asked && view === undefined)
    throw new ShapeError(`Expected \`${weight}\`: \`${field}\` is true`);
  if (!asked && view !== undefined)
    throw new ConfigError(`Expected no \`${weight}\`: \`${field}\` is false`);
}
