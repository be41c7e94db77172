import { gatedExpert } from './experts.js';
import type { Family } from './family.js';

const router = 'block_sparse_moe.gate.weight';
const namesOf = (expert: number) => ({
  gate: `block_sparse_moe.experts.${expert}.w1.weight`,
  up: `block_sparse_moe.experts.${expert}.w3.weight`,
  down: `block_sparse_moe.experts.${expert}.w2.weight`,
});

/** Mixtral: three tensors per expert under `block_sparse_moe`. */
export const mixtral: Family = {
  name: 'mixtral',
  routers: [router],

  measure(tensors) {
    const [expertNum, hiddenSize] = tensors.shape(router, 2) as [number, number];
    const [intermediateSize] = tensors.shape(namesOf(0).up, 2) as [number, number];
    const weightType = tensors.dtype(namesOf(0).up);
    return {
      expertNum,
      hiddenSize,
      intermediateSize,
      sharedSize: 0,
      weightType,
      activation: 'swiglu',
    };
  },

  views(tensors, { expertNum, hiddenSize, intermediateSize }) {
    return {
      router: tensors.matrix(router, expertNum, hiddenSize),
      experts: Array.from({ length: expertNum }, (_, expert) =>
        gatedExpert(tensors, namesOf(expert), hiddenSize, intermediateSize),
      ),
    };
  },
};
