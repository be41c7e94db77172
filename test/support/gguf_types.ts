// What values GGUF's types hold, by what is known of the format and apart from the code under test.
import type { GgufTypeName } from '../../bench/gguf/write.mjs';
import type { BlockType } from '../../src/binding/block_types.js';
import { floatOf, toBits } from './floats.js';
import { generator } from './layers.js';

/** The value that element i of a block has: in float64, which holds every product of factors and codes exactly. */
type Value = (block: DataView, i: number) => number;

interface StoredType {
  block: number;
  bytes: number;
  value: Value;
}

interface StoredBlocks extends StoredType {
  /** Where float16 factors stand, and what they are multiplied by at most. */
  halves: readonly number[];
  most: number;
  /** Sets other factors, of which some are no numbers, to sizes between 1/8 and 1. */
  temper?: (block: DataView, random: () => number) => void;
}

/** Bits [shift, shift + count) of a byte. */
const bits = (block: DataView, offset: number, shift: number, count: number) =>
  (block.getUint8(offset) >> shift) & (2 ** count - 1);

/** Of `2 * run` codes of four bits the one of element i: the first `run` stand in low halves of bytes, the others in high ones. */
const nibble = (block: DataView, offset: number, i: number, run = 16) =>
  bits(block, offset + (i % run), i < run ? 0 : 4, 4);

/** One bit of each of many elements, in runs of eight: as bits of a byte, or as the same bit of bytes. */
const bitOf = (block: DataView, offset: number, i: number) =>
  bits(block, offset + (i >> 3), i % 8, 1);
const planeOf = (block: DataView, offset: number, i: number) =>
  bits(block, offset + (i % 32), i >> 5, 1);

/** Two bits of element i of 256: four runs of 32 elements in 32 bytes, twice. */
const pair = (block: DataView, offset: number, i: number) =>
  bits(block, offset + 32 * (i >> 7) + (i % 32), 2 * ((i >> 5) % 4), 2);

const half = (block: DataView, offset = 0) => floatOf('float16', block.getUint16(offset, true));

/** Scale and offset of group g of Q4_K and Q5_K, of six bits each, in twelve bytes. */
function sixBits(block: DataView, g: number): [scale: number, offset: number] {
  if (g < 4) return [bits(block, 4 + g, 0, 6), bits(block, 8 + g, 0, 6)];
  return [
    bits(block, 8 + g, 0, 4) + 16 * bits(block, g, 6, 2),
    bits(block, 8 + g, 4, 4) + 16 * bits(block, 4 + g, 6, 2),
  ];
}

/** Q4_K and Q5_K: of the code only where it stands differs. */
const sixBitGroups =
  (code: Value): Value =>
  (block, i) => {
    const [scale, offset] = sixBits(block, i >> 5);
    return half(block) * scale * code(block, i) - half(block, 2) * offset;
  };
const codeOf4K = (block: DataView, offset: number, i: number) =>
  nibble(block, offset + 32 * (i >> 6), i % 64, 32);

const iq4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const iq4Of = (code: number) => iq4[code] as number;

function float4Of(code: number): number {
  const size = [0, 0.5, 1, 1.5, 2, 3, 4, 6][code & 7] as number;
  return code & 8 ? -size : size;
}

/** Of eight bits without a sign: four of exponent, three of mantissa; 127 is no number. */
function float8Of(byte: number): number {
  const [exponent, mantissa] = [(byte >> 3) & 15, byte & 7];
  if ((byte & 127) === 127) return Number.NaN;
  return exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
}

const floats: Readonly<Partial<Record<GgufTypeName | BlockType, StoredType>>> = {
  F32: { block: 1, bytes: 4, value: (block) => block.getFloat32(0, true) },
  F16: { block: 1, bytes: 2, value: half },
  BF16: { block: 1, bytes: 2, value: (block) => floatOf('bfloat16', block.getUint16(0, true)) },
};

const blocks: Readonly<Record<BlockType, StoredBlocks>> = {
  q4_0: {
    ...{ block: 32, bytes: 18, halves: [0], most: 8 },
    value: (block, i) => half(block) * (nibble(block, 2, i) - 8),
  },
  q4_1: {
    ...{ block: 32, bytes: 20, halves: [0, 2], most: 15 },
    value: (block, i) => half(block) * nibble(block, 4, i) + half(block, 2),
  },
  q5_0: {
    ...{ block: 32, bytes: 22, halves: [0], most: 16 },
    value: (block, i) => half(block) * (nibble(block, 6, i) + 16 * bitOf(block, 2, i) - 16),
  },
  q5_1: {
    ...{ block: 32, bytes: 24, halves: [0, 2], most: 31 },
    value: (block, i) =>
      half(block) * (nibble(block, 8, i) + 16 * bitOf(block, 4, i)) + half(block, 2),
  },
  q8_0: {
    ...{ block: 32, bytes: 34, halves: [0], most: 128 },
    value: (block, i) => half(block) * block.getInt8(2 + i),
  },
  q2_K: {
    ...{ block: 256, bytes: 84, halves: [80, 82], most: 45 },
    value: (block, i) =>
      half(block, 80) * bits(block, i >> 4, 0, 4) * pair(block, 16, i) -
      half(block, 82) * bits(block, i >> 4, 4, 4),
  },
  q3_K: {
    ...{ block: 256, bytes: 110, halves: [108], most: 128 },
    value(block, i) {
      const g = i >> 4;
      const low = bits(block, 96 + (g % 8), g < 8 ? 0 : 4, 4);
      const high = bits(block, 104 + (g % 4), 2 * (g >> 2), 2);
      const code = pair(block, 32, i) - 4 * (1 - planeOf(block, 0, i));
      return half(block, 108) * (low + 16 * high - 32) * code;
    },
  },
  q4_K: {
    ...{ block: 256, bytes: 144, halves: [0, 2], most: 945 },
    value: sixBitGroups((block, i) => codeOf4K(block, 16, i)),
  },
  q5_K: {
    ...{ block: 256, bytes: 176, halves: [0, 2], most: 1953 },
    value: sixBitGroups((block, i) => codeOf4K(block, 48, i) + 16 * planeOf(block, 16, i)),
  },
  q6_K: {
    ...{ block: 256, bytes: 210, halves: [208], most: 4096 },
    value(block, i) {
      const low = nibble(block, 64 * (i >> 7), i % 128, 64);
      const code = low + 16 * pair(block, 128, i) - 32;
      return half(block, 208) * block.getInt8(192 + (i >> 4)) * code;
    },
  },
  iq4_nl: {
    ...{ block: 32, bytes: 18, halves: [0], most: 127 },
    value: (block, i) => half(block) * iq4Of(nibble(block, 2, i)),
  },
  iq4_xs: {
    ...{ block: 256, bytes: 136, halves: [0], most: 4064 },
    value(block, i) {
      const g = i >> 5;
      const high = (block.getUint16(2, true) >> (2 * g)) & 3;
      const level = bits(block, 4 + (g >> 1), 4 * (g % 2), 4) + 16 * high - 32;
      return half(block) * level * iq4Of(nibble(block, 8 + 16 * g, i % 32));
    },
  },
  mxfp4: {
    ...{ block: 32, bytes: 17, halves: [], most: 6 },
    value(block, i) {
      const exponent = block.getUint8(0);
      return (
        (exponent === 255 ? Number.NaN : 2 ** (exponent - 127)) * float4Of(nibble(block, 1, i))
      );
    },
    temper: (block, random) => block.setUint8(0, 122 + Math.floor(3 * random())),
  },
  nvfp4: {
    ...{ block: 64, bytes: 36, halves: [], most: 6 },
    value: (block, i) =>
      float8Of(block.getUint8(i >> 4)) * float4Of(nibble(block, 4 + 8 * (i >> 4), i % 16, 8)),
    temper(block, random) {
      for (let g = 0; g < 4; g++) block.setUint8(g, 16 + Math.floor(24 * random()));
    },
  },
};

/** The values that bytes of a type hold, by the name of files (`Q4_K`) or ggml's (`q4_K`). */
export function decodedGguf(type: GgufTypeName | BlockType, stored: Uint8Array): Float32Array {
  const { block, bytes, value } =
    floats[type] ?? blocks[type.toLowerCase().replace('_k', '_K') as BlockType];
  return Float32Array.from({ length: (stored.length / bytes) * block }, (_, i) => {
    const offset = stored.byteOffset + Math.floor(i / block) * bytes;
    return value(new DataView(stored.buffer, offset, bytes), i % block);
  });
}

/** Elements and bytes of a block, as the format has them. */
export const sizesOfBlock = (type: BlockType) => {
  const { block: elements, bytes } = blocks[type];
  return { elements, bytes };
};

/** Blocks of every code and level there is, whose factors make values of a size up to about 1. */
export function randomBlocks(type: BlockType, count: number, seed = 1): Uint8Array {
  const random = generator(seed);
  const { bytes, halves, most, temper } = blocks[type];
  const stored = Uint8Array.from({ length: count * bytes }, () => 256 * random());
  for (let at = 0; at < stored.length; at += bytes) {
    const block = new DataView(stored.buffer, at, bytes);
    for (const offset of halves) {
      const size = (0.5 + random() / 2) / most;
      block.setUint16(offset, toBits('float16', random() < 0.5 ? -size : size), true);
    }
    temper?.(block, random);
  }
  return stored;
}
