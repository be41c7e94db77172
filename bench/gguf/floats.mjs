// @ts-check
// Floats of 16 and 8 bits.

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

/** @param {number} bits */
export function float16Value(bits) {
  const [sign, exponent, mantissa] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return mantissa ? Number.NaN : sign * Infinity;
  return (
    sign * (exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15))
  );
}

/** Of a float8 without a sign: four bits of exponent, three of mantissa. @param {number} bits */
export function float8Value(bits) {
  const [exponent, mantissa] = [bits >> 3, bits & 7];
  return exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
}

/** The bits of the nearest of them, of two the smaller one. @param {number} value at least 0 */
export function float8Bits(value) {
  const exponent = Math.max(-6, Math.floor(Math.log2(value)));
  const eighths = Math.ceil(value / 2 ** (exponent - 3) - 0.5);
  return Math.min(126, 8 * (exponent + 6) + eighths); // 127 is no number.
}
