// @ts-check
// The types in which GGUF files hold weights: their numbers, their blocks, and how float32 becomes them.

/**
 * @typedef {object} GgufType
 * @property {number} id what files call it
 * @property {number} block values that stand together
 * @property {number} bytes of a block
 * @property {(values: Float32Array) => Uint8Array} encode whole blocks
 */

const one = new Float32Array(1);
const bitsOfOne = new Uint32Array(one.buffer);

/** @param {number} value */
function float32Bits(value) {
  one[0] = value;
  return /** @type {number} */ (bitsOfOne[0]);
}

/** The nearest float16's bits, ties to even. @param {number} value */
export function float16Bits(value) {
  const size = float32Bits(Math.abs(value));
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  if (size > 0x7f800000) return 0x7e00;
  if (size >= 0x477ff000) return sign | 0x7c00; // What rounds to 65,536 and beyond.
  // Below 2^-14 float16 counts in steps of 2^-24, as float32 does from 0.5 on.
  if (size < 0x38800000) return sign | (float32Bits(Math.abs(value) + 0.5) - 0x3f000000);
  return sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
}

/** The nearest bfloat16's bits, ties to even. @param {number} value */
export function bfloat16Bits(value) {
  const bits = float32Bits(value);
  return Number.isNaN(value) ? 0x7fc0 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** The value that is farthest from 0. @param {Float32Array} values */
function farthest(values) {
  let most = 0;
  for (const value of values) if (Math.abs(value) > Math.abs(most)) most = value;
  return most;
}

const elements = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** The code of MXFP4's value that is nearest, of two the smaller one. @param {number} value */
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
 * A type of blocks of 32 values.
 *
 * @param {number} id
 * @param {number} bytes
 * @param {(values: Float32Array, block: DataView) => void} encodeBlock
 * @returns {GgufType}
 */
const blocks = (id, bytes, encodeBlock) => ({
  ...{ id, block: 32, bytes },
  encode(values) {
    const encoded = new Uint8Array((values.length / 32) * bytes);
    for (let i = 0; i < values.length / 32; i++)
      encodeBlock(
        values.subarray(32 * i, 32 * (i + 1)),
        new DataView(encoded.buffer, bytes * i, bytes),
      );
    return encoded;
  },
});

/**
 * Writes codes of four bits: values 0 to 15 in the low halves of 16 bytes, 16 to 31 in the high ones.
 *
 * @param {DataView} block
 * @param {number} offset
 * @param {Float32Array} values
 * @param {(value: number) => number} code
 */
function setHalves(block, offset, values, code) {
  for (let i = 0; i < 16; i++) {
    const [low, high] = [/** @type {number} */ (values[i]), /** @type {number} */ (values[i + 16])];
    block.setUint8(offset + i, code(low) | (code(high) << 4));
  }
}

/** What a scale divides by; nothing becomes of a block of zeros. @param {number} scale */
const inverse = (scale) => (scale === 0 ? 0 : Math.fround(1 / scale));
/** Halves go away from 0. @param {number} value */
const round = (value) => Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
/** @param {ArrayBufferView} array */
const bytesOf = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** @type {Readonly<Record<'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0' | 'MXFP4', GgufType>>} */
export const ggufTypes = {
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
  Q8_0: blocks(8, 34, (values, block) => {
    const scale = Math.fround(Math.abs(farthest(values)) / 127);
    block.setUint16(0, float16Bits(scale), true);
    values.forEach((value, i) => {
      block.setInt8(2 + i, round(value * inverse(scale)));
    });
  }),
  /** A float16 scale, then codes from 0 to 15 around 8; the farthest value's is 0. */
  Q4_0: blocks(2, 18, (values, block) => {
    const scale = farthest(values) / -8;
    block.setUint16(0, float16Bits(scale), true);
    setHalves(block, 2, values, (value) => Math.min(15, Math.floor(value * inverse(scale) + 8.5)));
  }),
  /** The exponent of a scale, then codes of floats: a sign, two bits of exponent, one of mantissa. */
  MXFP4: blocks(39, 17, (values, block) => {
    const size = Math.abs(farthest(values));
    const exponent = size === 0 ? -127 : Math.floor(Math.log2(size)) - 2;
    block.setUint8(0, exponent + 127);
    setHalves(block, 1, values, (value) => elementCode(value / 2 ** exponent));
  }),
};
