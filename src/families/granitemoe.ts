import { fusedExperts } from './experts.js';
import type { Family } from './family.js';

const router = 'block_sparse_moe.router.layer.weight';
const names = {
  gateUp: 'block_sparse_moe.input_linear.weight',
  down: 'block_sparse_moe.output_linear.weight',
  transposed: false,
};

/** GraniteMoE: all experts in two tensors, `[E, 2I, H]` with the gate first and `[E, H, I]`. */
export const granitemoe: Family = {
  name: 'granitemoe',
  routers: [router],

  measure(tensors) {
    const [expertNum, hiddenSize] = tensors.shape(router, 2) as [number, number];
    const [, , intermediateSize] = tensors.shape(names.down, 3) as [number, number, number];
    const weightType = tensors.dtype(names.down);
    return {
      expertNum,
      hiddenSize,
      intermediateSize,
      sharedSize: 0,
      weightType,
      activation: 'swiglu',
    };
  },

  views(tensors, sizes) {
    return {
      router: tensors.matrix(router, sizes.expertNum, sizes.hiddenSize),
      experts: fusedExperts(tensors, names, sizes),
    };
  },
};
