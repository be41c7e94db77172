// What values GGUF's types hold, by what is known of the format and apart from the code under test.
import type { GgufTypeName } from '../../bench/gguf/write.mjs';
import { floatOf } from './floats.js';

/** Of 32 codes of four bits the one of a value: the first 16 are in the low halves of bytes, the others in the high ones. */
const nibble = (block: DataView, offset: number, i: number) =>
  (block.getUint8(offset + (i % 16)) >> (i < 16 ? 0 : 4)) & 15;

const half = (block: DataView) => floatOf('float16', block.getUint16(0, true));

interface StoredType {
  block: number;
  bytes: number;
  value: (block: DataView, i: number) => number;
}

const types: Readonly<Record<GgufTypeName, StoredType>> = {
  F32: { block: 1, bytes: 4, value: (block) => block.getFloat32(0, true) },
  F16: { block: 1, bytes: 2, value: half },
  BF16: { block: 1, bytes: 2, value: (block) => floatOf('bfloat16', block.getUint16(0, true)) },
  Q8_0: { block: 32, bytes: 34, value: (block, i) => half(block) * block.getInt8(2 + i) },
  Q4_0: { block: 32, bytes: 18, value: (block, i) => half(block) * (nibble(block, 2, i) - 8) },
  MXFP4: {
    ...{ block: 32, bytes: 17 },
    value(block, i) {
      const code = nibble(block, 1, i);
      const size = [0, 0.5, 1, 1.5, 2, 3, 4, 6][code & 7] as number;
      return (code & 8 ? -size : size) * 2 ** (block.getUint8(0) - 127);
    },
  },
};

/** The values that bytes of a type hold. */
export function decodedGguf(type: GgufTypeName, stored: Uint8Array): Float32Array {
  const { block, bytes, value } = types[type];
  return Float32Array.from({ length: (stored.length / bytes) * block }, (_, i) => {
    const offset = stored.byteOffset + Math.floor(i / block) * bytes;
    return value(new DataView(stored.buffer, offset, bytes), i % block);
  });
}
