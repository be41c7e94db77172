import type { Tensor } from './weights.js';

/** A tensor's elements as numbers; 16-bit floats widen exactly. */
export function floatValues({ dtype, data }: Tensor): Float32Array {
  if (data instanceof Float32Array) return data;
  return Float32Array.from(data, dtype === 'bfloat16' ? bfloat16 : float16);
}

const scratch = new DataView(new ArrayBuffer(4));

function bfloat16(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

/** One sign bit, five of exponent, ten of fraction. */
function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
