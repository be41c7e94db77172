// Weights as integers of 2 to 8 bits: how each tool stores them, their scales and zeros.
import type { MatrixView } from '../../../binding/views.js';
import { type Form, floatScales, type ModuleTensors, stretches } from './form.js';

/** What all of them have. */
export interface IntegerForm {
  readonly bits: 4 | 8;
  /** Inputs that share a scale; 0: all. */
  readonly group: number;
  readonly symmetric: boolean;
  /** Whether groups are of inputs in an order of their own, which a tensor says. */
  readonly ordered: boolean;
}

const typeOf = <Bits extends 2 | 3 | 4 | 5 | 6 | 8>(bits: Bits) => `uint${bits}` as const;
const halfOf = (bits: 4 | 8): number => 2 ** (bits - 1);
const inBlockOf = (group: number, inFeatures: number): number => (group === 0 ? inFeatures : group);

/** The group of each input. It may be there where groups are in order, and must be there where they are not. */
function orderOf(tensors: ModuleTensors, ending: string, ordered: boolean, inFeatures: number) {
  if (!ordered && !tensors.has(ending)) return {};
  return { groupOfInput: tensors.ints(ending, inFeatures) };
}

/** Transposed: words of inputs side by side, words of zeros along the outputs. `added`: zeros are stored smaller by this. */
export function gptq({ bits, group, symmetric, ordered }: IntegerForm, added: 0 | 1): Form {
  const perWord = 32 / bits;
  const shapeOf = (out: number, inputs: number) => [stretches(inputs, perWord), out] as const;
  return {
    codes: '.qweight',
    shapeOf,
    featuresOf: ([words = 0, out = 0]) => [out, words * perWord],
    read(tensors, out, inputs): MatrixView {
      const inBlock = inBlockOf(group, inputs);
      const groups = stretches(inputs, inBlock);
      const zeroWords = stretches(out, perWord);
      const codes = tensors.block('.qweight', { I32: typeOf(bits) }, ...shapeOf(out, inputs));
      const zeros = tensors.block('.qzeros', { I32: typeOf(bits) }, groups, zeroWords);
      const scales = tensors.block('.scales', floatScales, groups, out);
      return {
        ...codes.matrix({ outFeatures: out, inFeatures: inputs, outStride: 1, inStride: out }),
        packing: 'inputs',
        zeros: { ...zeros.place(), packing: 'outputs', outStride: 1, inStride: zeroWords, added },
        ...(symmetric && { zero: halfOf(bits) }),
        scales: {
          ...scales.scales({ outBlock: 1, inBlock, outStride: 1, inStride: out }),
          ...orderOf(tensors, '.g_idx', ordered, inputs),
        },
      };
    },
  };
}

/** Transposed: words of outputs in an order of their own. */
export function awq(group: number): Form {
  const shapeOf = (out: number, inputs: number) => [inputs, stretches(out, 8)] as const;
  return {
    codes: '.qweight',
    shapeOf,
    featuresOf: ([inputs = 0, words = 0]) => [words * 8, inputs],
    read(tensors, out, inputs): MatrixView {
      const inBlock = inBlockOf(group, inputs);
      const groups = stretches(inputs, inBlock);
      const words = stretches(out, 8);
      const strides = { outStride: 1, inStride: words };
      const codes = tensors.block('.qweight', { I32: 'uint4' }, inputs, words);
      const zeros = tensors.block('.qzeros', { I32: 'uint4' }, groups, words);
      const scales = tensors.block('.scales', floatScales, groups, out);
      return {
        ...codes.matrix({ outFeatures: out, inFeatures: inputs, ...strides }),
        packing: 'outputs_of_awq',
        zeros: { ...zeros.place(), packing: 'outputs_of_awq', ...strides, added: 0 },
        scales: scales.scales({ outBlock: 1, inBlock, outStride: 1, inStride: out }),
      };
    },
  };
}

/** compressed-tensors: words of inputs, words of zeros along the outputs. */
export function packed({ bits, group, symmetric, ordered }: IntegerForm): Form {
  const perWord = 32 / bits;
  const shapeOf = (out: number, inputs: number) => [out, stretches(inputs, perWord)] as const;
  return {
    codes: '.weight_packed',
    shapeOf,
    featuresOf: ([out = 0, words = 0]) => [out, words * perWord],
    read(tensors, out, inputs): MatrixView {
      const [, words] = shapeOf(out, inputs);
      const inBlock = inBlockOf(group, inputs);
      const groups = stretches(inputs, inBlock);
      const codes = tensors.block('.weight_packed', { I32: typeOf(bits) }, out, words);
      const scales = tensors.block('.weight_scale', floatScales, out, groups);
      const said = tensors.numbers('.weight_shape', ['I32', 'I64'], 2);
      if (said !== undefined && (said[0] !== out || said[1] !== inputs))
        throw tensors.error('.weight_shape', `the numbers ${out}, ${inputs}`, said.join(', '));
      const zeros = () =>
        tensors.block('.weight_zero_point', { I32: typeOf(bits) }, stretches(out, perWord), groups);
      return {
        ...codes.matrix({ outFeatures: out, inFeatures: inputs, outStride: words, inStride: 1 }),
        packing: 'inputs',
        ...(symmetric && !tensors.has('.weight_zero_point')
          ? { zero: halfOf(bits) }
          : {
              zeros: {
                ...zeros().place(),
                ...{ packing: 'outputs', outStride: groups, inStride: 1, added: 0 },
              },
            }),
        scales: {
          ...scales.scales({ outBlock: 1, inBlock, outStride: groups }),
          ...orderOf(tensors, '.weight_g_idx', ordered, inputs),
        },
      };
    },
  };
}

/** compressed-tensors: a byte with a sign. `perMatrix`: one scale and zero for all. */
export function signedBytes(group: number, symmetric: boolean, perMatrix: boolean): Form {
  return {
    codes: '.weight',
    shapeOf: (out, inputs) => [out, inputs],
    featuresOf: ([out = 0, inputs = 0]) => [out, inputs],
    read(tensors, out, inputs): MatrixView {
      const inBlock = inBlockOf(group, inputs);
      const groups = stretches(inputs, inBlock);
      const rows = perMatrix ? 1 : out;
      const codes = tensors.block('.weight', { I8: 'int8' }, out, inputs);
      const scales = tensors.block('.weight_scale', floatScales, rows, groups);
      const zeros = () => tensors.block('.weight_zero_point', { I8: 'int8' }, rows, groups);
      return {
        ...codes.matrix({ outFeatures: out, inFeatures: inputs }),
        ...((!symmetric || tensors.has('.weight_zero_point')) && {
          zeros: { ...zeros().place(), outStride: groups, inStride: 1, added: 0 },
        }),
        scales: scales.scales({
          ...{ outBlock: perMatrix ? out : 1, inBlock, outStride: groups },
        }),
      };
    },
  };
}

/** What MLX says of a module. */
export interface MlxForm {
  readonly bits: 2 | 3 | 4 | 5 | 6 | 8;
  readonly group: number;
}

/** MLX: words of inputs, whose bits may be in two of them, and an offset for each group. */
export function mlx({ bits, group }: MlxForm): Form {
  const shapeOf = (out: number, inputs: number) => [out, stretches(inputs * bits, 32)] as const;
  return {
    codes: '.weight',
    shapeOf,
    featuresOf: ([out = 0, words = 0]) => [out, Math.floor((words * 32) / bits)],
    read(tensors, out, inputs): MatrixView {
      const [, words] = shapeOf(out, inputs);
      const groups = stretches(inputs, group);
      const codes = tensors.block('.weight', { U32: typeOf(bits) }, out, words);
      const scales = tensors.block('.scales', floatScales, out, groups);
      const view = scales.scales({ outBlock: 1, inBlock: group, outStride: groups });
      const type = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' }[view.dtype as 'float32'];
      const offsets = tensors.block('.biases', { [type]: view.dtype }, out, groups);
      return {
        ...codes.matrix({ outFeatures: out, inFeatures: inputs, outStride: words, inStride: 1 }),
        packing: 'inputs',
        scales: { ...view, offsets: offsets.place() },
      };
    },
  };
}
