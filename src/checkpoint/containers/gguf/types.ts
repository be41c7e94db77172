// Types of tensors in GGUF files, by their numbers there.
import { type BlockType, blockTypes } from '../../../binding/block_types.js';

/** A type whose tensors are read: how headers of safetensors call it, or blocks of that name. */
export interface GgufType {
  /** As messages call it. */
  readonly name: string;
  readonly dtype: 'F32' | 'F16' | 'BF16' | 'I32' | BlockType;
  /** Elements and bytes of a block; rows are whole ones. */
  readonly elements: number;
  readonly bytes: number;
}

const plain = (dtype: 'F32' | 'F16' | 'BF16' | 'I32', bytes: number): GgufType => ({
  ...{ name: dtype, dtype, bytes },
  elements: 1,
});
const blocks = (dtype: BlockType): GgufType => ({
  ...{ name: dtype.toUpperCase(), dtype },
  ...blockTypes[dtype],
});

/** Types that are read. Source: ggml.h, `enum ggml_type`. */
export const ggufTypes: ReadonlyMap<number, GgufType> = new Map([
  [0, plain('F32', 4)],
  [1, plain('F16', 2)],
  [2, blocks('q4_0')],
  [3, blocks('q4_1')],
  [6, blocks('q5_0')],
  [7, blocks('q5_1')],
  [8, blocks('q8_0')],
  [10, blocks('q2_K')],
  [11, blocks('q3_K')],
  [12, blocks('q4_K')],
  [13, blocks('q5_K')],
  [14, blocks('q6_K')],
  [20, blocks('iq4_nl')],
  [23, blocks('iq4_xs')],
  [26, plain('I32', 4)],
  [30, plain('BF16', 2)],
  [39, blocks('mxfp4')],
  [40, blocks('nvfp4')],
]);

/** Types that are not read. */
const otherTypes: ReadonlyMap<number, string> = new Map([
  ...([
    [9, 'Q8_1'],
    [15, 'Q8_K'],
    [16, 'IQ2_XXS'],
    [17, 'IQ2_XS'],
    [18, 'IQ3_XXS'],
    [19, 'IQ1_S'],
    [21, 'IQ3_S'],
    [22, 'IQ2_S'],
    [24, 'I8'],
    [25, 'I16'],
    [27, 'I64'],
    [28, 'F64'],
    [29, 'IQ1_M'],
    [34, 'TQ1_0'],
    [35, 'TQ2_0'],
    [41, 'Q1_0'],
  ] as const),
]);

/** What messages say of a type that is not read, and what helps. */
export function unknownType(id: number): string {
  const name = otherTypes.get(id);
  const advice =
    'take a file of another quantisation, as Q4_K_M, or make one of the original: llama-quantize of llama.cpp';
  if (name !== undefined) return `${name}, which is not read: ${advice}`;
  const fork = id >= 97 ? ", one of ik_llama.cpp's own" : '';
  return `type ${id}${fork}, which is not known: ${advice}`;
}

/** The names of all types that are read, for messages. */
export const ggufTypeNames: readonly string[] = [...ggufTypes.values()].map(({ name }) => name);
