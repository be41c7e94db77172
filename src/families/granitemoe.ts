import { fusedExperts } from './experts.js';
import { type Family, measureRouted } from './family.js';

const router = 'block_sparse_moe.router.layer.weight';
const names = {
  gateUp: 'block_sparse_moe.input_linear.weight',
  down: 'block_sparse_moe.output_linear.weight',
  transposed: false,
};
const sharedNames = {
  gateUp: 'shared_mlp.input_linear.weight',
  down: 'shared_mlp.output_linear.weight',
  transposed: false,
};

/**
 * GraniteMoE: all experts in two tensors, `[E, 2I, H]` with the gate first and `[E, H, I]`. A shared expert stands beside
 * the block, stored like one of them.
 */
export const granitemoe: Family = {
  name: 'granitemoe',
  modelTypes: ['granitemoe', 'granitemoeshared'],
  routers: [router],

  measure(tensors) {
    const width = { name: names.down, rank: 3, axis: 2 };
    const { down } = sharedNames;
    const sharedSize = tensors.has(down) ? (tensors.shape(down, 2)[1] as number) : 0;
    return { ...measureRouted(tensors, router, width, 'swiglu'), sharedSize };
  },

  views(tensors, sizes) {
    const { expertNum, hiddenSize, sharedSize } = sizes;
    const one = { ...sizes, expertNum: 1, intermediateSize: sharedSize };
    const [shared] = sharedSize > 0 ? fusedExperts(tensors, sharedNames, one) : [];
    return {
      router: tensors.matrix(router, expertNum, hiddenSize),
      experts: fusedExperts(tensors, names, sizes),
      ...(shared && { shared }),
    };
  },
};
