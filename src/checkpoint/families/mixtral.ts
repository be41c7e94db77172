import { gatedExpert } from './experts.js';
import { type Family, measureRouted } from './family.js';

const router = 'block_sparse_moe.gate.weight';
const namesOf = (expert: number) => ({
  gate: `block_sparse_moe.experts.${expert}.w1.weight`,
  up: `block_sparse_moe.experts.${expert}.w3.weight`,
  down: `block_sparse_moe.experts.${expert}.w2.weight`,
});

/** Mixtral: three tensors per expert under `block_sparse_moe`. */
export const mixtral: Family = {
  name: 'mixtral',
  modelTypes: ['mixtral'],
  routers: [router],

  measure: (tensors) =>
    measureRouted(tensors, router, { name: namesOf(0).up, rank: 2, axis: 0 }, 'swiglu'),

  views(tensors, { expertNum, hiddenSize, intermediateSize }) {
    return {
      router: tensors.matrix(router, expertNum, hiddenSize),
      experts: Array.from({ length: expertNum }, (_, expert) =>
        gatedExpert(tensors, namesOf(expert), hiddenSize, intermediateSize),
      ),
    };
  },
};
