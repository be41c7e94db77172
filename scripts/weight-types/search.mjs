// The best that codes of four bits can do in a group of weights: with a scale, and with a scale and an offset, both bfloat16.
import { bfloat16Bits } from '../../bench/gguf/floats.mjs';

const word = new Uint32Array(1);
const number = new Float32Array(word.buffer);

/** @param bits of a bfloat16 number */
function numberOf(bits) {
  word[0] = bits << 16;
  return number[0];
}
const rounded = (value) => numberOf(bfloat16Bits(value));
const nearest = (x, least, most) => Math.min(most, Math.max(least, Math.floor(x + 0.5)));

/** A group with every code's number `code * scale + offset`. */
const held = (group, { scale, offset, least }) =>
  group.map((value) => nearest((value - offset) / scale, least, least + 15) * scale + offset);

/** The sum of importance × error², as far as it is less than `most`. */
function errorOf(group, importance, { scale, offset, least }, most) {
  let sum = 0;
  for (let i = 0; i < group.length && sum < most; i++) {
    const code = nearest((group[i] - offset) / scale, least, least + 15);
    sum += importance[i] * (code * scale + offset - group[i]) ** 2;
  }
  return sum;
}

/** The best of codes; the group itself where there is none. */
function bestOf(group, importance, codes) {
  let [best, error] = [undefined, Infinity];
  for (const code of codes) {
    if (!(Math.abs(code.scale) > 0)) continue;
    const own = errorOf(group, importance, code, error);
    if (own < error) [best, error] = [code, own];
  }
  return best === undefined ? group : held(group, best);
}

/** A hundred scales of both signs, that round the farthest weight to 6.4 to 20. */
function* scales(group) {
  const most = group.reduce((far, value) => Math.max(far, Math.abs(value)), 0);
  for (let bits = bfloat16Bits(most / 20); bits <= bfloat16Bits(most / 6.4); bits += 5)
    for (const scale of [numberOf(bits), -numberOf(bits)]) yield { scale, offset: 0, least: -8 };
}

/** Sixteen starts, each a part of the way from the extremes inwards, and both fitted again to the codes, twice. */
function* scalesAndOffsets(group, importance) {
  const [low, high] = [Math.min(...group), Math.max(...group)];
  const inwards = [-0.03, 0.045, 0.12, 0.195].map((part) => part * (high - low));
  for (const below of inwards)
    for (const above of inwards) {
      let code = { offset: low + below, scale: (high - above - low - below) / 15, least: 0 };
      for (let fit = 0; fit < 3 && Math.abs(code.scale) > 0; fit++) {
        yield { ...code, scale: rounded(code.scale), offset: rounded(code.offset) };
        code = fitted(group, importance, code);
      }
    }
}

/** Scale and offset with the least error for the codes that weights have. */
function fitted(group, importance, { scale, offset, least }) {
  let [weight, codes, squares, values, products] = [0, 0, 0, 0, 0];
  for (const [i, value] of group.entries()) {
    const code = nearest((value - offset) / scale, least, least + 15);
    const own = importance[i];
    weight += own;
    codes += own * code;
    squares += own * code * code;
    values += own * value;
    products += own * value * code;
  }
  const determinant = weight * squares - codes * codes;
  const better = (weight * products - codes * values) / determinant;
  return { scale: better, offset: (values - better * codes) / weight, least };
}

const searched = (size, codes) => (values, shape, importance) => {
  const width = shape.at(-1);
  const result = new Float32Array(values.length);
  for (let begin = 0; begin < values.length; begin += size) {
    const group = values.subarray(begin, begin + size);
    const column = begin % width;
    const own = importance?.subarray(column, column + size) ?? new Float32Array(size).fill(1);
    result.set(bestOf(group, own, codes(group, own)), begin);
  }
  return result;
};

/** The best scale of each group of `size` weights. */
export const withScale = (size) => searched(size, scales);
/** The best scale and offset of each. */
export const withOffset = (size) => searched(size, scalesAndOffsets);
