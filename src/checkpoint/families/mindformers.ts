import type { ExpertView, LayerWeightViews } from '../../binding/views.js';
import { gatedExpert } from './experts.js';
import type { Family, LayerSizes } from './family.js';
import type { LayerTensors } from './layer_tensors.js';

const modules = ['feed_forward.', 'feed_forward.routed_experts.', 'output.'];
const routerName = 'router.dense.weight';
const sharedNames = {
  gate: 'feed_forward.shared_experts.w1.weight',
  up: 'feed_forward.shared_experts.w3.weight',
  down: 'feed_forward.shared_experts.w2.weight',
};
const sharedRouter = 'feed_forward.shared_experts_gate.weight';

/**
 * MindFormers' own names. Experts are `ffn.mapping` `[E, H, I]` and `ffn.projection` `[E, I, H]` with biases, two matrices
 * around a tanh GELU; or gated `ffn.w1`, `w3` (up) and `w2` (down), stored either way round.
 */
export const mindformers: Family = {
  name: 'mindformers',
  routers: modules.map((module) => module + routerName),

  measure(tensors) {
    const module = moduleOf(tensors);
    const [expertNum, hiddenSize] = tensors.shape(module + routerName, 2) as [number, number];
    const gated = !tensors.has(`${module}ffn.mapping.weight`);
    const up = `${module}ffn.${gated ? 'w3' : 'mapping'}.weight`;
    const [, a, b] = tensors.shape(up, 3) as [number, number, number];
    return {
      expertNum,
      hiddenSize,
      intermediateSize: a === hiddenSize ? b : a,
      sharedSize: tensors.has(sharedNames.up) ? (tensors.shape(sharedNames.up, 2)[0] as number) : 0,
      weightType: tensors.dtype(up),
      activation: gated ? 'swiglu' : 'gelu_tanh',
    };
  },

  views(tensors, sizes, config) {
    const { expertNum, hiddenSize, sharedSize } = sizes;
    const module = moduleOf(tensors);
    const views: LayerWeightViews = {
      router: tensors.matrix(module + routerName, expertNum, hiddenSize),
      experts: tensors.has(`${module}ffn.mapping.weight`)
        ? plainExperts(tensors, `${module}ffn.`, sizes)
        : gatedExperts(tensors, `${module}ffn.`, sizes),
    };
    const bias = tensors.find(
      `${module}router.router.topk_bias`,
      `${module}router.e_score_correction_bias`,
    );
    if (config.balanceViaTopkBias || tensors.has(bias))
      views.routerCorrectionBias = tensors.vector(bias, expertNum);
    if (sharedSize > 0) views.shared = gatedExpert(tensors, sharedNames, hiddenSize, sharedSize);
    if (config.useSharedExpertGating || tensors.has(sharedRouter))
      views.sharedRouter = tensors.matrix(sharedRouter, 1, hiddenSize);
    return views;
  },
};

function moduleOf(tensors: LayerTensors): string {
  return modules.find((module) => tensors.has(module + routerName)) ?? 'feed_forward.';
}

/** Stored `[E, in, out]`. Biases may carry dimensions of 1: `[1, E, 1, I]`. */
function plainExperts(tensors: LayerTensors, ffn: string, sizes: LayerSizes): ExpertView[] {
  const { expertNum: E, hiddenSize: H, intermediateSize: I } = sizes;
  const mapping = tensors.block(`${ffn}mapping.weight`, E, H, I);
  const mappingBias = tensors.block(`${ffn}mapping.bias`, E, I);
  const projection = tensors.block(`${ffn}projection.weight`, E, I, H);
  const projectionBias = tensors.block(`${ffn}projection.bias`, E, H);
  return Array.from({ length: E }, (_, expert) => ({
    up: mapping.matrix({
      outFeatures: I,
      inFeatures: H,
      first: expert * H * I,
      outStride: 1,
      inStride: I,
    }),
    upBias: mappingBias.vector({ size: I, first: expert * I }),
    down: projection.matrix({
      outFeatures: H,
      inFeatures: I,
      first: expert * I * H,
      outStride: 1,
      inStride: H,
    }),
    downBias: projectionBias.vector({ size: H, first: expert * H }),
  }));
}

/** Stored `[E, out, in]` by its training code and `[E, in, out]` for grouped products: the shapes tell which. */
function gatedExperts(tensors: LayerTensors, ffn: string, sizes: LayerSizes): ExpertView[] {
  const { expertNum: E, hiddenSize: H, intermediateSize: I } = sizes;
  if (H === I)
    throw tensors.error(
      `${ffn}w1.weight`,
      'a hidden size other than its intermediate size, because MindFormers stores experts either way round and only ' +
        'the shape tells which',
      `${H} for both`,
    );
  const transposed = tensors.shape(`${ffn}w1.weight`, 3)[1] === H;
  const stacked = (name: string, outFeatures: number, inFeatures: number) => {
    const block = transposed
      ? tensors.block(name, E, inFeatures, outFeatures)
      : tensors.block(name, E, outFeatures, inFeatures);
    const strides = transposed ? { outStride: 1, inStride: outFeatures } : {};
    return (expert: number) =>
      block.matrix({ outFeatures, inFeatures, first: expert * I * H, ...strides });
  };
  const gate = stacked(`${ffn}w1.weight`, I, H);
  const up = stacked(`${ffn}w3.weight`, I, H);
  const down = stacked(`${ffn}w2.weight`, H, I);
  return Array.from({ length: E }, (_, expert) => ({
    gate: gate(expert),
    up: up(expert),
    down: down(expert),
  }));
}
