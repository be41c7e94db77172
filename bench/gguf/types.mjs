// @ts-check
// The types in which GGUF files hold weights: their numbers, their blocks, and how float32 becomes them.
import { blocksOf, bytesOf, farthest, inverse, putNibbles, round } from './blocks.mjs';
import { bfloat16Bits, float8Bits, float8Value, float16Bits } from './floats.mjs';
import { groupTypes } from './group_types.mjs';

const elements = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** The code of a float4 that is nearest, of two the smaller one. @param {number} value */
function elementCode(value) {
  const size = Math.abs(value);
  const nearest = elements.reduce(
    (best, element, code) =>
      Math.abs(element - size) < Math.abs(/** @type {number} */ (elements[best]) - size)
        ? code
        : best,
    0,
  );
  return nearest | (value < 0 ? 8 : 0);
}

/**
 * @typedef {'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0' | 'MXFP4' | 'NVFP4' | keyof typeof groupTypes} GgufTypeName
 */

/** @type {Readonly<Record<GgufTypeName, import('./blocks.mjs').GgufType>>} */
export const ggufTypes = {
  ...groupTypes,
  F32: { ...{ id: 0, block: 1, bytes: 4 }, encode: bytesOf },
  F16: {
    ...{ id: 1, block: 1, bytes: 2 },
    encode: (values) =>
      bytesOf(new Uint16Array(values.length).map((_, i) => float16Bits(values[i] ?? 0))),
  },
  BF16: {
    ...{ id: 30, block: 1, bytes: 2 },
    encode: (values) =>
      bytesOf(new Uint16Array(values.length).map((_, i) => bfloat16Bits(values[i] ?? 0))),
  },
  /** A float16 scale, then codes from -127 to 127. */
  Q8_0: blocksOf(8, 32, 34, (values, block) => {
    const scale = Math.fround(Math.abs(farthest(values)) / 127);
    block.setUint16(0, float16Bits(scale), true);
    values.forEach((value, i) => {
      block.setInt8(2 + i, round(value * inverse(scale)));
    });
  }),
  /** A float16 scale, then codes from 0 to 15 around 8; the farthest value's is 0. */
  Q4_0: blocksOf(2, 32, 18, (values, block) => {
    const scale = farthest(values) / -8;
    block.setUint16(0, float16Bits(scale), true);
    const codes = [...values].map((value) =>
      Math.min(15, Math.floor(value * inverse(scale) + 8.5)),
    );
    putNibbles(block, 2, codes);
  }),
  /** The exponent of a scale, then codes of floats: a sign, two bits of exponent, one of mantissa. */
  MXFP4: blocksOf(39, 32, 17, (values, block) => {
    const size = Math.abs(farthest(values));
    const exponent = size === 0 ? -127 : Math.floor(Math.log2(size)) - 2;
    block.setUint8(0, exponent + 127);
    putNibbles(
      block,
      1,
      [...values].map((value) => elementCode(value / 2 ** exponent)),
    );
  }),
  /** A float8 without a sign for each 16 values, whose codes are those of MXFP4. */
  NVFP4: blocksOf(40, 64, 36, (values, block) => {
    for (let group = 0; group < 4; group++) {
      const own = values.subarray(16 * group, 16 * (group + 1));
      const scale = float8Bits(Math.abs(farthest(own)) / 6);
      block.setUint8(group, scale);
      const codes = [...own].map((value) => elementCode(value * inverse(float8Value(scale))));
      putNibbles(block, 4 + 8 * group, codes, 8);
    }
  }),
};
