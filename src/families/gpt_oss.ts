import { type Family, measureRouted } from './family.js';

const router = 'mlp.router.weight';
const gateUpName = 'mlp.experts.gate_up_proj';
const downName = 'mlp.experts.down_proj';

/**
 * gpt-oss in 16-bit floats: `[E, H, 2I]` with gate and up interleaved (gate in the even columns), `[E, I, H]`, and a bias
 * for each.
 */
export const gptOss: Family = {
  name: 'gpt_oss',
  modelTypes: ['gpt_oss'],
  routers: [router],

  measure: (tensors) =>
    measureRouted(tensors, router, { name: downName, rank: 3, axis: 1 }, 'swiglu_oai'),

  views(tensors, { expertNum: E, hiddenSize: H, intermediateSize: I }) {
    const gateUp = tensors.block(gateUpName, E, H, 2 * I);
    const down = tensors.block(downName, E, I, H);
    const gateUpBias = tensors.block(`${gateUpName}_bias`, E, 2 * I);
    const downBias = tensors.block(`${downName}_bias`, E, H);
    const column = { outFeatures: I, inFeatures: H, outStride: 2, inStride: 2 * I };
    return {
      router: tensors.matrix(router, E, H),
      routerBias: tensors.vector('mlp.router.bias', E),
      experts: Array.from({ length: E }, (_, expert) => ({
        gate: gateUp.matrix({ ...column, first: expert * H * 2 * I }),
        up: gateUp.matrix({ ...column, first: expert * H * 2 * I + 1 }),
        down: down.matrix({
          outFeatures: H,
          inFeatures: I,
          first: expert * I * H,
          outStride: 1,
          inStride: H,
        }),
        gateBias: gateUpBias.vector({ size: I, first: expert * 2 * I, stride: 2 }),
        upBias: gateUpBias.vector({ size: I, first: expert * 2 * I + 1, stride: 2 }),
        downBias: downBias.vector({ size: H, first: expert * H }),
      })),
    };
  },
};
