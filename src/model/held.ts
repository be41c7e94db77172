// How a model's weights are held, by what was asked for and by what they are stored as.
import type { HeldWeights } from '../binding/devices.js';
import { kvBlock, type NativeModelSpec, type NativeProjection } from '../binding/model.js';
import type { NativeLayerSpec } from '../binding/native.js';
import type { MatrixView } from '../binding/views.js';
import {
  type ActivationType,
  hasScales,
  rowsBeside,
  type WeightType,
} from '../binding/weight_formats.js';
import { MoEConfig } from '../config/config.js';
import { toNativeConfig } from '../config/native.js';
import { nativeSpec, nativeWeightGroup } from '../layer/parts.js';
import { commonType, heldType } from '../layer/weights.js';
import type { DescribedSpec, LayerDescription } from './describe.js';
import type { LayerOfModel, OuterOfModel, Projections } from './model_source.js';
import type { HeldModelOptions } from './options.js';

const maxDefaultTokens = 32768;
const maxQueue = 1024;

export function projectionsOf(
  options: HeldModelOptions,
  held: readonly HeldWeights[] | undefined,
  layers: readonly LayerOfModel[],
  { views }: OuterOfModel,
): Projections {
  const { weightType, activationType = 'float' } = options;
  const stored = heldType((views.head as MatrixView).dtype);
  const asExperts = weightType === undefined || hasScales(weightType) ? undefined : weightType;
  const ofHead = options.outputType ?? asExperts ?? (weightType === undefined ? stored : 'int8');
  const projection = (type: WeightType, activation: ActivationType): NativeProjection => ({
    weightType: type,
    weightGroup: nativeWeightGroup({ weightType: type, weightGroup: options.weightGroup }, held),
    activationType: rowsBeside(type, activation),
  });
  return {
    projections: projection(
      weightType ?? commonType(projectionsIn(layers), () => held),
      activationType,
    ),
    // Logits are what is compared: rows stay floats in their product.
    head: projection(ofHead, 'float'),
  };
}

export function modelSpec(
  described: DescribedSpec,
  options: HeldModelOptions,
  projections: Projections,
): NativeModelSpec {
  const { kvType = 'bfloat16', threads = 0, prefixCache = true } = options;
  const { contextLength } = described;
  const { kvTokens = Math.min(contextLength, maxDefaultTokens) } = options;
  return {
    ...described,
    ...projections,
    ...{ kvType, kvTokens: Math.ceil(kvTokens / kvBlock) * kvBlock, contextLength },
    ...{ prefixCache, threads, maxQueue },
  };
}

/** A dense layer as one that has nothing but an always-on expert. */
export function denseSpec(
  { width, activation }: NonNullable<LayerDescription['dense']>,
  { hiddenSize, projections, threads }: NativeModelSpec,
  views: NonNullable<LayerOfModel['dense']>,
): NativeLayerSpec {
  const config = new MoEConfig({ expertNum: 1, numExpertsChosen: 1, sharedExpertNum: 1 });
  const { weightType, weightGroup, activationType } = projections;
  const sizes = { hiddenSize, intermediateSize: width, sharedSize: width };
  const parts = { config, ...sizes, activation, views, weightType, activationType, maxQueue };
  const spec = nativeSpec(toNativeConfig(config), parts, undefined);
  return { ...spec, weightGroup, threads };
}

/** The matrices of attention and dense layers. */
const projectionsIn = (layers: readonly LayerOfModel[]): MatrixView[] =>
  layers.flatMap(({ views, dense }) =>
    [...Object.values(views.attention ?? {}), ...Object.values(dense?.shared ?? {})].flatMap(
      (view) => ('outFeatures' in view ? [view] : []),
    ),
  );
