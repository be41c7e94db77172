import { isBlockType } from '../../binding/block_types.js';
import type { DType, StoredType } from '../../binding/views.js';

/** Bits of one element, by the name the file format gives its type. */
const elementBits = new Map([
  ['F64', 64],
  ['F32', 32],
  ['F16', 16],
  ['BF16', 16],
  ['F8_E4M3', 8],
  ['F8_E5M2', 8],
  ['F8_E8M0', 8],
  ['F6_E2M3', 6],
  ['F6_E3M2', 6],
  ['F4', 4],
  ['C64', 64],
  ['I64', 64],
  ['U64', 64],
  ['I32', 32],
  ['U32', 32],
  ['I16', 16],
  ['U16', 16],
  ['I8', 8],
  ['U8', 8],
  ['BOOL', 8],
]);

const floats = new Map<string, DType>([
  ['F32', 'float32'],
  ['BF16', 'bfloat16'],
  ['F16', 'float16'],
]);

/** The types' names, for messages. */
export const dtypeNames: readonly string[] = [...elementBits.keys()];

/** Bytes of a tensor, or undefined when the type is unknown, the bytes are not whole or exceed 2^53 - 1. */
export function tensorBytes(dtype: string, shape: readonly number[]): number | undefined {
  let bits = elementBits.get(dtype);
  if (bits === undefined) return undefined;
  for (const size of shape) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) return undefined;
  }
  return bits % 8 === 0 ? bits / 8 : undefined;
}

/** The float type a stored type is, or undefined where it is none of ours. */
export function floatType(dtype: string): DType | undefined {
  return floats.get(dtype);
}

/** The element type of weights that a stored type is, or undefined where a layer cannot be made of it. */
export function storedTypeOf(dtype: string): StoredType | undefined {
  if (isBlockType(dtype)) return dtype;
  return dtype === 'F8_E4M3' ? 'float8_e4m3' : floats.get(dtype);
}
