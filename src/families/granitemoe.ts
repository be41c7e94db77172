import { fusedExperts } from './experts.js';
import { type Family, measureRouted } from './family.js';

const router = 'block_sparse_moe.router.layer.weight';
const names = {
  gateUp: 'block_sparse_moe.input_linear.weight',
  down: 'block_sparse_moe.output_linear.weight',
  transposed: false,
};

/** GraniteMoE: all experts in two tensors, `[E, 2I, H]` with the gate first and `[E, H, I]`. */
export const granitemoe: Family = {
  name: 'granitemoe',
  modelTypes: ['granitemoe'],
  routers: [router],

  measure: (tensors) =>
    measureRouted(tensors, router, { name: names.down, rank: 3, axis: 2 }, 'swiglu'),

  views(tensors, sizes) {
    return {
      router: tensors.matrix(router, sizes.expertNum, sizes.hiddenSize),
      experts: fusedExperts(tensors, names, sizes),
    };
  },
};
