// @ts-check
// Writes GGUF files, row by row: of a model only a row has to be in memory.
import { open } from 'node:fs/promises';
import { ggufTypes } from './types.mjs';

/** @typedef {keyof typeof ggufTypes} GgufTypeName */

/**
 * @typedef {object} GgufTensor
 * @property {string} name
 * @property {GgufTypeName} type
 * @property {readonly number[]} shape the slowest dimension first, as safetensors has it
 * @property {() => Iterable<Float32Array | Uint8Array>} rows rows or stretches of them, in order: values, or bytes that are
 *   of the type already
 */

/** What metadata says, with its type: `['u32', 8]`, `['f32', 1e-6]`, `['string[]', ['a', 'b']]`. */
/** @typedef {readonly [type: string, value: unknown]} GgufValue */

const alignment = 32;
const aligned = (/** @type {number} */ size) => Math.ceil(size / alignment) * alignment;

/** @param {number} size @param {(view: DataView) => void} set */
function bytes(size, set) {
  const written = new Uint8Array(size);
  set(new DataView(written.buffer));
  return written;
}

/** @param {number} value */
const u32 = (value) => bytes(4, (view) => view.setUint32(0, value, true));
/** @param {number} value */
const u64 = (value) => bytes(8, (view) => view.setBigUint64(0, BigInt(value), true));
/** @param {string} value */
function text(value) {
  const encoded = Buffer.from(value);
  return Buffer.concat([u64(encoded.length), encoded]);
}

/**
 * Types of metadata: their numbers, and how a value is written.
 *
 * @type {Readonly<Record<string, readonly [id: number, encode: (value: any) => Uint8Array]>>}
 */
const valueTypes = {
  u32: [4, u32],
  i32: [5, (value) => bytes(4, (view) => view.setInt32(0, value, true))],
  f32: [6, (value) => bytes(4, (view) => view.setFloat32(0, value, true))],
  bool: [7, (value) => Uint8Array.of(Number(value))],
  string: [8, text],
};

/** @param {GgufValue} value @returns {Uint8Array} */
function typed([type, value]) {
  const [id, encode] = valueTypes[type.replace('[]', '')] ?? [];
  if (id === undefined || encode === undefined)
    throw new Error(`Expected a type of metadata of ${Object.keys(valueTypes)}, got ${type}`);
  if (!type.endsWith('[]')) return Buffer.concat([u32(id), encode(value)]);
  const all = /** @type {readonly unknown[]} */ (value);
  return Buffer.concat([u32(9), u32(id), u64(all.length), ...all.map(encode)]);
}

/** The bytes that a tensor takes. @param {Pick<GgufTensor, 'name' | 'type' | 'shape'>} tensor */
function tensorBytes({ name, type, shape }) {
  const { block, bytes: each } = ggufTypes[type];
  const width = shape.at(-1) ?? 1;
  if (width % block !== 0)
    throw new Error(`Expected rows of ${name} to be multiples of ${block} long, got ${width}`);
  return (shape.reduce((all, size) => all * size, 1) / block) * each;
}

/**
 * @param {string} path
 * @param {Readonly<Record<string, GgufValue>>} metadata
 * @param {readonly GgufTensor[]} tensors
 * @returns {Promise<number>} the file's size
 */
export async function writeGguf(path, metadata, tensors) {
  let size = 0;
  const infos = tensors.map((tensor) => {
    const dimensions = [...tensor.shape].reverse();
    const info = [u32(dimensions.length), ...dimensions.map(u64), u32(ggufTypes[tensor.type].id)];
    const whole = Buffer.concat([text(tensor.name), ...info, u64(size)]);
    size = aligned(size + tensorBytes(tensor));
    return whole;
  });
  const entries = Object.entries(metadata);
  const header = Buffer.concat([
    ...[Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(entries.length)],
    ...entries.flatMap(([key, value]) => [text(key), typed(value)]),
    ...infos,
  ]);
  const file = await open(path, 'w');
  try {
    const writer = new PaddedWriter(file);
    await writer.write(header);
    await writer.pad();
    for (const tensor of tensors) {
      const before = writer.size;
      const { encode } = ggufTypes[tensor.type];
      for (const row of tensor.rows())
        await writer.write(row instanceof Float32Array ? encode(row) : row);
      if (writer.size - before !== tensorBytes(tensor))
        throw new Error(
          `Expected ${tensorBytes(tensor)} bytes of ${tensor.name}, got ${writer.size - before}`,
        );
      await writer.pad();
    }
    await writer.flush();
    return writer.size;
  } finally {
    await file.close();
  }
}

/** Gathers small writes, and knows where it is. What it is given may change behind that. */
class PaddedWriter {
  #gathered = Buffer.alloc(2 ** 22);
  #used = 0;
  #file;
  size = 0;

  /** @param {import('node:fs/promises').FileHandle} file */
  constructor(file) {
    this.#file = file;
  }

  /** @param {Uint8Array} part */
  async write(part) {
    for (let from = 0; from < part.length; ) {
      if (this.#used === this.#gathered.length) await this.flush();
      const room = this.#gathered.length - this.#used;
      const piece = part.subarray(from, from + room);
      this.#gathered.set(piece, this.#used);
      this.#used += piece.length;
      from += piece.length;
    }
    this.size += part.length;
  }

  /** Zeros up to the next place where something may begin. */
  pad() {
    return this.write(new Uint8Array(aligned(this.size) - this.size));
  }

  async flush() {
    await this.#file.appendFile(this.#gathered.subarray(0, this.#used));
    this.#used = 0;
  }
}
