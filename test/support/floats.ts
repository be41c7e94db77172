// 16-bit floats by their definition, apart from the code under test.
import type { DType } from '../../src/index.js';

/** The value of an element as it is stored: of a 16-bit float its bits. */
export function floatOf(dtype: DType, stored: number): number {
  if (dtype === 'float32') return stored;
  if (dtype === 'bfloat16')
    return new Float32Array(Uint32Array.of(stored << 16).buffer)[0] as number;
  const sign = stored & 0x8000 ? -1 : 1;
  const exponent = (stored >> 10) & 31;
  const mantissa = stored & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Infinity;
  return (
    sign * (exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15))
  );
}

/** A value's nearest bfloat16 (ties to even) or float16 bits. */
export function toBits(dtype: 'bfloat16' | 'float16', value: number): number {
  if (dtype === 'bfloat16') {
    const bits = new Uint32Array(Float32Array.of(value).buffer)[0] as number;
    return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
  }
  const magnitude = Math.abs(value);
  const exponent = Math.max(Math.floor(Math.log2(magnitude || 2 ** -14)), -14);
  const scaled = magnitude / 2 ** (exponent - 10);
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  const mantissa = floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0);
  return (
    (value < 0 ? 0x8000 : 0) |
    (mantissa < 1024 && exponent === -14 ? mantissa : ((exponent + 14) << 10) + mantissa)
  );
}
