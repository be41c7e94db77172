import type { ExpertView } from '../../binding/views.js';
import type { LayerSizes } from './family.js';
import type { LayerTensors } from './layer_tensors.js';

/** Names of one gated expert's three matrices. */
export interface ExpertNames {
  gate: string;
  up: string;
  down: string;
}

/** One gated expert, a tensor per matrix: gate and up `[width, H]`, down `[H, width]`. */
export function gatedExpert(
  tensors: LayerTensors,
  names: ExpertNames,
  hiddenSize: number,
  width: number,
): ExpertView {
  return {
    gate: tensors.matrix(names.gate, width, hiddenSize),
    up: tensors.matrix(names.up, width, hiddenSize),
    down: tensors.matrix(names.down, hiddenSize, width),
  };
}

/** `[E, 2I, H]` and `[E, H, I]`, or the same transposed: `[E, H, 2I]` and `[E, I, H]`. */
export interface FusedNames {
  gateUp: string;
  down: string;
  transposed: boolean;
}

/** All experts in two tensors, the I gate features of each before its I up features. */
export function fusedExperts(
  tensors: LayerTensors,
  names: FusedNames,
  sizes: LayerSizes,
): ExpertView[] {
  const { expertNum: E, hiddenSize: H, intermediateSize: I } = sizes;
  const { transposed } = names;
  const gateUp = transposed
    ? tensors.block(names.gateUp, E, H, 2 * I)
    : tensors.block(names.gateUp, E, 2 * I, H);
  const down = transposed ? tensors.block(names.down, E, I, H) : tensors.block(names.down, E, H, I);
  const half = {
    outFeatures: I,
    inFeatures: H,
    ...(transposed ? { outStride: 1, inStride: 2 * I } : { outStride: H, inStride: 1 }),
  };
  const back = {
    outFeatures: H,
    inFeatures: I,
    ...(transposed ? { outStride: 1, inStride: H } : { outStride: I, inStride: 1 }),
  };
  return Array.from({ length: E }, (_, expert) => ({
    gate: gateUp.matrix({ ...half, first: expert * 2 * I * H }),
    up: gateUp.matrix({ ...half, first: expert * 2 * I * H + I * half.outStride }),
    down: down.matrix({ ...back, first: expert * I * H }),
  }));
}
