import type { ExpertView, LayerWeightViews, MatrixView, VectorView } from '../../binding/views.js';
import type { MoEConfig } from '../../config/config.js';
import type { Layout, VectorAt } from '../../families/layout.js';
import { foldedRouter, intsOf, numbersOf } from './folded.js';
import type { LayerTensors } from './layer_tensors.js';
import { chosenAt, expertsAt, matricesAt } from './matrices.js';
import type { LayerSizes } from './sizes.js';

/** Weights that only some families have. */
export interface FamilyViews extends LayerWeightViews {
  /** `[E]`, multiplies the weights of each expert. */
  expertScale?: VectorView;
  /** Around the routed experts: `[L, H]` and `[H, L]`. */
  latentDown?: MatrixView;
  latentUp?: MatrixView;
  /** `[V, K]`: experts by token id. */
  expertTable?: Int32Array;
}

/** What of a layer's options says which weights it has. */
export interface WeightNeeds {
  readonly latentSize?: number | undefined;
  readonly expertTable?: boolean | undefined;
}

/** Fields of `MoEConfig` by which weights are more or others. */
type RouterSizes = { zeroExpertNum?: number; alwaysChosenExpertNum?: number };

/** Names of the weights that a layer has beside those of every family. */
export function familyWeights(layout: Layout, needs: WeightNeeds): (keyof FamilyViews)[] {
  return [
    ...(layout.expertScale ? (['expertScale'] as const) : []),
    ...(needs.latentSize ? (['latentDown', 'latentUp'] as const) : []),
    ...(needs.expertTable ? (['expertTable'] as const) : []),
  ];
}

/**
 * Views of every weight of a layer that is stored like this.
 *
 * @returns also a factor of the weights that the tensors have
 * @throws `CheckpointError` naming tensor and file, where a shape does not fit the sizes or a tensor that the config asks
 *   for is missing
 */
export function readLayer(
  tensors: LayerTensors,
  layout: Layout,
  { expertNum, hiddenSize, intermediateSize, sharedSize }: LayerSizes,
  config: MoEConfig,
  { latentSize, expertTable }: WeightNeeds,
): { views: FamilyViews; factor: number } {
  const { zeroExpertNum = 0, alwaysChosenExpertNum = 0 } = config as RouterSizes;
  const rows = expertNum + zeroExpertNum;
  const routed = {
    count: expertNum - (layout.lastExperts === undefined ? 0 : alwaysChosenExpertNum),
    features: latentSize ?? hiddenSize,
    width: intermediateSize,
  };
  const views: FamilyViews = {
    router: layout.routerRow
      ? foldedRouter(tensors, layout.router, layout.routerRow, rows, hiddenSize)
      : matrixAt(tensors, layout.router, rows, hiddenSize),
    experts: expertsAt(tensors, chosenAt(tensors, layout.experts, routed), routed),
  };
  if (layout.lastExperts !== undefined && alwaysChosenExpertNum > 0)
    views.experts.push(
      ...expertsAt(tensors, layout.lastExperts, { ...routed, count: alwaysChosenExpertNum }),
    );
  if (layout.routerBias) views.routerBias = vectorAt(tensors, layout.routerBias, rows);
  const bias = layout.choiceBias?.find(({ name }) => tensors.has(name)) ?? layout.choiceBias?.[0];
  if (bias !== undefined && (config.balanceViaTopkBias || tensors.has(bias.name)))
    views.routerCorrectionBias =
      layout.lastExperts === undefined
        ? vectorAt(tensors, bias, rows)
        : paddedBias(tensors, bias.name, routed.count, rows);
  if (layout.expertScale) views.expertScale = vectorAt(tensors, layout.expertScale, expertNum);
  if (latentSize !== undefined && layout.latentDown && layout.latentUp) {
    views.latentDown = matrixAt(tensors, layout.latentDown, latentSize, hiddenSize);
    views.latentUp = matrixAt(tensors, layout.latentUp, hiddenSize, latentSize);
  }
  if (expertTable && layout.expertTable !== undefined)
    views.expertTable = intsOf(tensors, layout.expertTable, config.numExpertsChosen);
  if (layout.outputBias !== undefined) {
    // Weights add up to 1, so what is added to every expert's output is added once to the block's.
    const downBias = tensors.vector(layout.outputBias, hiddenSize);
    views.experts = views.experts.map((expert): ExpertView => ({ ...expert, downBias }));
  }
  if (sharedSize > 0 && layout.shared !== undefined) {
    const one = { count: 1, features: hiddenSize, width: sharedSize };
    const [shared] = expertsAt(tensors, chosenAt(tensors, layout.shared, one), one);
    views.shared = shared as ExpertView;
  }
  const { sharedRouter } = layout;
  if (sharedRouter !== undefined && (config.useSharedExpertGating || tensors.has(sharedRouter)))
    views.sharedRouter = tensors.matrix(sharedRouter, 1, hiddenSize);
  const [factor = 1] = layout.factor === undefined ? [] : numbersOf(tensors, layout.factor, 1);
  return { views, factor };
}

/** The experts that every token chooses have no bias. */
function paddedBias(tensors: LayerTensors, name: string, count: number, size: number): VectorView {
  const source = new Float32Array(size);
  source.set(numbersOf(tensors, name, count));
  return { source, byteOffset: 0, dtype: 'float32', size, stride: 1 };
}

const matrixAt = (tensors: LayerTensors, at: Layout['router'], out: number, inputs: number) =>
  matricesAt(tensors, at, 1, out, inputs)(0);

function vectorAt(tensors: LayerTensors, { name, row }: VectorAt, size: number): VectorView {
  if (row === undefined) return tensors.vector(name, size);
  return tensors.block(name, row.of, size).vector({ size, first: row.at * size });
}
