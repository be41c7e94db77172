// Experts as gpt-oss stores them: codes of four bits in blocks of 32 inputs, each with the exponent of a scale.
import type { Matrix } from '../families/reference/numbers.js';
import { gateOf, interleaved, type Spelling, type Tensors } from '../families/spelling.js';

/** Every block's. */
const exponent = -3;
const elements = [0, 0.5, 1, 1.5, 2, 3, 4, 6].map((value) => value * 2 ** exponent);
const nearest = (value: number) =>
  elements.reduce((best, each, i) => {
    const closer =
      Math.abs(each - Math.abs(value)) < Math.abs((elements[best] as number) - Math.abs(value));
    return closer ? i : best;
  }, 0);
const nibble = (value: number) => nearest(value) | (value < 0 ? 8 : 0);

/** The nearest value that can be stored so. */
export function roundedToMxfp4(value: number): number {
  const size = elements[nearest(value)] as number;
  return value < 0 && size > 0 ? -size : size;
}

/** Two codes in a byte, the first in its low half. */
function packed(name: string, matrices: readonly Matrix[]): Tensors {
  const [rows, columns] = [matrices[0]?.length ?? 0, matrices[0]?.[0]?.length ?? 0];
  const shape = [matrices.length, rows, columns / 32];
  const values = matrices.flat(2);
  return {
    [`${name}_blocks`]: {
      ...{ dtype: 'U8', shape: [...shape, 16] },
      data: Uint8Array.from(
        { length: values.length / 2 },
        (_, i) => nibble(values[2 * i] as number) | (nibble(values[2 * i + 1] as number) << 4),
      ),
    },
    [`${name}_scales`]: {
      ...{ dtype: 'U8', shape },
      data: new Uint8Array(values.length / 32).fill(127 + exponent),
    },
  };
}

/** Gate and up of a value side by side, as rows. */
export const packedExperts: Spelling = ({ experts }) => ({
  ...packed(
    'mlp.experts.gate_up_proj',
    experts.map((expert) => interleaved(gateOf(expert), expert.up)),
  ),
  ...packed(
    'mlp.experts.down_proj',
    experts.map(({ down }) => down),
  ),
});
