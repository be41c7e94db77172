// @ts-check
// Types whose groups of values have factors that are found by the extremes alone: near enough to compare speed and reading
// with, not as near as ggml's own search brings them.
import {
  blocksOf,
  farthest,
  inverse,
  putBits,
  putNibbles,
  putPairs,
  putPlanes,
  putRow,
  round,
} from './blocks.mjs';
import { float16Bits, float16Value } from './floats.mjs';

/**
 * A block's values: `scale * levels[g] * number(code)`, from which `offset * offsets[g]` is subtracted where there are offsets.
 *
 * @typedef {object} Groups
 * @property {number} scale bits of a float16
 * @property {number[]} levels
 * @property {number[]} codes
 * @property {number} offset bits of a float16
 * @property {number[]} offsets
 */

/** @param {number} value @param {number} least @param {number} most */
const clamp = (value, least, most) => Math.min(most, Math.max(least, round(value)));

/** @param {readonly number[]} factors @param {number} one bits @param {number} least @param {number} most */
const levelsOf = (factors, one, least, most) =>
  factors.map((factor) => clamp(factor * inverse(float16Value(one)), least, most));

/** @param {Float32Array} values @param {number} size */
const groupsOf = (values, size) =>
  Array.from({ length: values.length / size }, (_, g) => values.subarray(size * g, size * (g + 1)));

/**
 * The one of some numbers that is nearest, by its place.
 *
 * @param {readonly number[]} numbers
 * @param {number} value
 */
const nearest = (numbers, value) =>
  numbers.reduce(
    (best, number, code) =>
      Math.abs(number - value) < Math.abs((numbers[best] ?? 0) - value) ? code : best,
    0,
  );

/**
 * Codes for numbers, of which the first is the farthest from 0: the farthest value of a group becomes it.
 *
 * @param {Float32Array} values
 * @param {number} size of a group
 * @param {readonly number[]} numbers
 * @param {readonly [farthest: number, other: number]} [ends] of levels
 * @returns {Groups}
 */
function around0(values, size, numbers, [end, other] = [1, 1]) {
  const groups = groupsOf(values, size);
  const scales = groups.map((group) => farthest(group) / (numbers[0] ?? 1));
  const scale = float16Bits(farthest(scales) / end);
  const levels = levelsOf(scales, scale, Math.min(end, other), Math.max(end, other));
  const codes = groups.flatMap((group, g) => {
    const own = inverse(float16Value(scale) * (levels[g] ?? 0));
    return Array.from(group, (value) => nearest(numbers, value * own));
  });
  return { scale, levels, codes, offset: 0, offsets: [] };
}

/**
 * Codes from 0 on, between the least and the greatest value of a group.
 *
 * @param {Float32Array} values
 * @param {number} size of a group
 * @param {number} mostCode
 * @param {number} [mostLevel]
 * @returns {Groups}
 */
function between(values, size, mostCode, mostLevel = 1) {
  const groups = groupsOf(values, size);
  const lows = groups.map((group) => Math.max(0, -Math.min(...group)));
  const spans = groups.map((group, g) => (Math.max(0, ...group) + (lows[g] ?? 0)) / mostCode);
  const scale = float16Bits(Math.max(...spans) / mostLevel);
  const offset = float16Bits(Math.max(...lows) / mostLevel);
  const levels = levelsOf(spans, scale, 0, mostLevel);
  const offsets = levelsOf(lows, offset, 0, mostLevel);
  const codes = groups.flatMap((group, g) => {
    const own = inverse(float16Value(scale) * (levels[g] ?? 0));
    const low = float16Value(offset) * (offsets[g] ?? 0);
    return Array.from(group, (value) => clamp((value + low) * own, 0, mostCode));
  });
  return { scale, levels, codes, offset, offsets };
}

/** Integers from `-zero` to `zero - 1`. @param {number} zero */
const integers = (zero) => Array.from({ length: 2 * zero }, (_, code) => code - zero);
const iq4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/** @param {readonly number[]} codes @param {number} bits */
const above = (codes, bits) => codes.map((code) => code >> bits);

/** Eight levels and eight offsets of six bits. @param {DataView} block @param {Groups} groups */
function putSixBits(block, { levels, offsets }) {
  for (let g = 0; g < 4; g++) {
    const [low, high] = [levels[g] ?? 0, levels[g + 4] ?? 0];
    const [lowOffset, highOffset] = [offsets[g] ?? 0, offsets[g + 4] ?? 0];
    block.setUint8(4 + g, low | ((high >> 4) << 6));
    block.setUint8(8 + g, lowOffset | ((highOffset >> 4) << 6));
    block.setUint8(12 + g, (high & 15) | ((highOffset & 15) << 4));
  }
}

/** @param {DataView} block @param {number} offset @param {number} bits */
const putHalf = (block, offset, bits) => block.setUint16(offset, bits, true);

export const groupTypes = {
  Q4_1: blocksOf(3, 32, 20, (values, block) => {
    const { scale, offset, codes } = between(values, 32, 15);
    putHalf(block, 0, scale);
    putHalf(block, 2, offset ^ 0x8000);
    putNibbles(block, 4, codes);
  }),
  Q5_0: blocksOf(6, 32, 22, (values, block) => {
    const { scale, codes } = around0(values, 32, integers(16));
    putHalf(block, 0, scale);
    putRow(block, 2, above(codes, 4));
    putNibbles(block, 6, codes);
  }),
  Q5_1: blocksOf(7, 32, 24, (values, block) => {
    const { scale, offset, codes } = between(values, 32, 31);
    putHalf(block, 0, scale);
    putHalf(block, 2, offset ^ 0x8000);
    putRow(block, 4, above(codes, 4));
    putNibbles(block, 8, codes);
  }),
  Q2_K: blocksOf(10, 256, 84, (values, block) => {
    const { scale, levels, offset, offsets, codes } = between(values, 16, 3, 15);
    levels.forEach((level, g) => {
      block.setUint8(g, level | ((offsets[g] ?? 0) << 4));
    });
    putPairs(block, 16, codes);
    putHalf(block, 80, scale);
    putHalf(block, 82, offset);
  }),
  Q3_K: blocksOf(11, 256, 110, (values, block) => {
    const { scale, levels, codes } = around0(values, 16, integers(4), [-32, 31]);
    putPlanes(block, 0, above(codes, 2));
    putPairs(block, 32, codes);
    levels.forEach((level, g) => {
      putBits(block, 96 + (g % 8), ((level + 32) & 15) << (g < 8 ? 0 : 4));
      putBits(block, 104 + (g % 4), ((level + 32) >> 4) << (2 * Math.floor(g / 4)));
    });
    putHalf(block, 108, scale);
  }),
  Q4_K: blocksOf(12, 256, 144, (values, block) => {
    const groups = between(values, 32, 15, 63);
    putHalf(block, 0, groups.scale);
    putHalf(block, 2, groups.offset);
    putSixBits(block, groups);
    putNibbles(block, 16, groups.codes, 32);
  }),
  Q5_K: blocksOf(13, 256, 176, (values, block) => {
    const groups = between(values, 32, 31, 63);
    putHalf(block, 0, groups.scale);
    putHalf(block, 2, groups.offset);
    putSixBits(block, groups);
    putPlanes(block, 16, above(groups.codes, 4));
    putNibbles(block, 48, groups.codes, 32);
  }),
  Q6_K: blocksOf(14, 256, 210, (values, block) => {
    const { scale, levels, codes } = around0(values, 16, integers(32), [-128, 127]);
    putNibbles(block, 0, codes, 64);
    putPairs(block, 128, above(codes, 4));
    levels.forEach((level, g) => {
      block.setInt8(192 + g, level);
    });
    putHalf(block, 208, scale);
  }),
  IQ4_NL: blocksOf(20, 32, 18, (values, block) => {
    const { scale, codes } = around0(values, 32, iq4);
    putHalf(block, 0, scale);
    putNibbles(block, 2, codes);
  }),
  IQ4_XS: blocksOf(23, 256, 136, (values, block) => {
    const { scale, levels, codes } = around0(values, 32, iq4, [-32, 31]);
    putHalf(block, 0, scale);
    levels.forEach((level, g) => {
      putBits(block, 2 + Math.floor(g / 4), ((level + 32) >> 4) << (2 * (g % 4)));
      putBits(block, 4 + Math.floor(g / 2), ((level + 32) & 15) << (4 * (g % 2)));
    });
    putNibbles(block, 8, codes);
  }),
};
