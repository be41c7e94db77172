import type { ExpertView } from '../../binding/views.js';
import { type Family, type LayerSizes, measureRouted } from './family.js';
import type { LayerTensors } from './layer_tensors.js';

const router = 'mlp.router.weight';
const gateUpName = 'mlp.experts.gate_up_proj';
const downName = 'mlp.experts.down_proj';

/** MXFP4: so many elements share a scale. */
const mxfp4Block = 32;

/**
 * gpt-oss, in 16-bit floats or in MXFP4. Gate and up features alternate (gate the even ones), and each product has a
 * bias.
 */
export const gptOss: Family = {
  name: 'gpt_oss',
  modelTypes: ['gpt_oss'],
  routers: [router],

  measure(tensors) {
    if (!isMxfp4(tensors))
      return measureRouted(tensors, router, { name: downName, rank: 3, axis: 1 }, 'swiglu_oai');
    const [expertNum, hiddenSize] = tensors.shape(router, 2) as [number, number];
    const [, , blocks] = tensors.shape(`${downName}_scales`, 3) as [number, number, number];
    return {
      expertNum,
      hiddenSize,
      intermediateSize: blocks * mxfp4Block,
      sharedSize: 0,
      weightType: 'bfloat16',
      activation: 'swiglu_oai',
    };
  },

  views(tensors, sizes) {
    const { expertNum: E, hiddenSize: H, intermediateSize: I } = sizes;
    const matrices = isMxfp4(tensors) ? mxfp4Matrices(tensors, sizes) : matricesOf(tensors, sizes);
    const gateUpBias = tensors.block(`${gateUpName}_bias`, E, 2 * I);
    const downBias = tensors.block(`${downName}_bias`, E, H);
    return {
      router: tensors.matrix(router, E, H),
      routerBias: tensors.vector('mlp.router.bias', E),
      experts: Array.from({ length: E }, (_, expert) => ({
        ...matrices(expert),
        gateBias: gateUpBias.vector({ size: I, first: expert * 2 * I, stride: 2 }),
        upBias: gateUpBias.vector({ size: I, first: expert * 2 * I + 1, stride: 2 }),
        downBias: downBias.vector({ size: H, first: expert * H }),
      })),
    };
  },
};

const isMxfp4 = (tensors: LayerTensors): boolean => tensors.has(`${gateUpName}_blocks`);

type Matrices = (
  expert: number,
) => Pick<ExpertView, 'up' | 'down'> & Required<Pick<ExpertView, 'gate'>>;

/** `[E, H, 2I]` and `[E, I, H]`. */
function matricesOf(
  tensors: LayerTensors,
  { expertNum: E, hiddenSize: H, intermediateSize: I }: LayerSizes,
): Matrices {
  const gateUp = tensors.block(gateUpName, E, H, 2 * I);
  const down = tensors.block(downName, E, I, H);
  const column = { outFeatures: I, inFeatures: H, outStride: 2, inStride: 2 * I };
  const back = { outFeatures: H, inFeatures: I, outStride: 1, inStride: H };
  return (expert) => ({
    gate: gateUp.matrix({ ...column, first: expert * H * 2 * I }),
    up: gateUp.matrix({ ...column, first: expert * H * 2 * I + 1 }),
    down: down.matrix({ ...back, first: expert * I * H }),
  });
}

/** `[E, 2I, H]` and `[E, H, I]`: blocks of 32 inputs in 16 bytes, and the exponent of each block's scale. */
function mxfp4Matrices(
  tensors: LayerTensors,
  { expertNum: E, hiddenSize: H, intermediateSize: I }: LayerSizes,
): Matrices {
  const read = (name: string, rows: number, columns: number) => {
    const blocks = columns / mxfp4Block;
    const shape = [E, rows, blocks] as const;
    const elements = tensors.bytes(`${name}_blocks`, 'float4_e2m1', ...shape, mxfp4Block / 2);
    const scales = tensors.bytes(`${name}_scales`, 'float8_e8m0', ...shape);
    // Every `step`-th of an expert's rows, from `first` on.
    return (expert: number, first: number, step: number) => ({
      ...elements.matrix({
        outFeatures: rows / step,
        inFeatures: columns,
        first: (expert * rows + first) * columns,
        outStride: step * columns,
      }),
      scales: scales.scales({
        outBlock: 1,
        inBlock: mxfp4Block,
        first: (expert * rows + first) * blocks,
        outStride: step * blocks,
      }),
    });
  };
  const gateUp = read(gateUpName, 2 * I, H);
  const down = read(downName, H, I);
  return (expert) => ({
    gate: gateUp(expert, 0, 2),
    up: gateUp(expert, 1, 2),
    down: down(expert, 0, 1),
  });
}
