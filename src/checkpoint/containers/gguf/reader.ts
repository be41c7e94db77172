// The header of a GGUF file: metadata and what it says of each tensor. Layout: ggml, docs/gguf.md.
import { CheckpointError } from '../../../base/errors.js';
import { quote } from '../json_reader.js';
import { type GgufType, ggufTypeNames, ggufTypes, unknownType } from './types.js';

/** A value of metadata. Integers of 64 bits are numbers where they are exact. */
export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

/** What a header says of a tensor; offsets count from the start of the data. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgufType;
  /** The slowest dimension first, as safetensors has it. */
  readonly shape: readonly number[];
  readonly offset: number;
  readonly byteLength: number;
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly GgufTensor[];
  /** Where the tensors' data begin in the file. */
  readonly dataStart: number;
}

/** Asked for more bytes than are there: the caller reads further, where the file has them. */
export class HeaderCut extends Error {}

const [maxTensors, maxKeys, maxDimensions, maxNameBytes, maxTextBytes] = [
  2 ** 20,
  2 ** 20,
  4,
  2 ** 16,
  2 ** 26,
];
const maxDepth = 4;
const maxAlignment = 2 ** 20;

const valueTypes = [
  ...['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'f32', 'bool', 'string', 'array', 'u64', 'i64'],
  'f64',
] as const;
/** Bytes of a value, at least. */
const leastBytes = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];

/**
 * Reads and checks a header: every value, every tensor's type and shape, that tensors begin where they may and are inside
 * the file, one behind another.
 *
 * @param bytes the file's first bytes
 * @param fileBytes length of the whole file
 * @throws `CheckpointError` naming file and tensor at the first thing that is wrong, `HeaderCut` where `bytes` end before
 *   the header does
 */
export function parseGguf(path: string, bytes: Uint8Array, fileBytes: number): GgufHeader {
  const reader = new Reader(path, bytes, fileBytes);
  reader.magic();
  const tensorCount = reader.count('tensors', maxTensors, 24);
  const keyCount = reader.count('keys of metadata', maxKeys, 13);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = reader.text('a key of metadata', maxNameBytes);
    if (metadata.has(key)) throw reader.error(`each key of metadata once, got ${quote(key)} twice`);
    metadata.set(key, reader.value(key, reader.valueType(key), 0));
  }
  const alignment = alignmentOf(reader, metadata);
  const tensors: GgufTensor[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = reader.tensor(alignment);
    if (names.has(tensor.name))
      throw reader.error(`each tensor once, got ${quote(tensor.name)} twice`);
    names.add(tensor.name);
    tensors.push(tensor);
  }
  const dataStart = Math.ceil(reader.at / alignment) * alignment;
  expectInside(path, tensors, dataStart, fileBytes);
  return { metadata, tensors, dataStart };
}

function alignmentOf(reader: Reader, metadata: ReadonlyMap<string, GgufValue>): number {
  const alignment = metadata.get('general.alignment') ?? 32;
  if (
    typeof alignment !== 'number' ||
    alignment < 8 ||
    alignment > maxAlignment ||
    alignment % 8 !== 0
  )
    throw reader.error(
      `general.alignment to be a multiple of 8 up to ${maxAlignment}, got ${String(alignment)}`,
    );
  return alignment;
}

function expectInside(
  path: string,
  tensors: readonly GgufTensor[],
  dataStart: number,
  fileBytes: number,
): void {
  let end = 0;
  let before = '';
  for (const { name, offset, byteLength } of tensors.toSorted((a, b) => a.offset - b.offset)) {
    const where = `tensor ${quote(name)} in ${path}`;
    if (offset < end)
      throw new CheckpointError(
        `Expected ${where} to begin behind ${quote(before)}, which ends at ${end}, got an offset of ${offset}`,
      );
    end = offset + byteLength;
    before = name;
    if (dataStart + end > fileBytes)
      throw new CheckpointError(
        `Expected ${where} to be inside the file's ${fileBytes} bytes, got an end at ${dataStart + end}: the file is cut, or damaged`,
      );
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class Reader {
  readonly #path: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fileBytes: number;
  at = 0;

  constructor(path: string, bytes: Uint8Array, fileBytes: number) {
    this.#path = path;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileBytes = fileBytes;
  }

  error(expected: string): CheckpointError {
    return new CheckpointError(`Expected the header of ${this.#path} to have ${expected}`);
  }

  magic(): void {
    const magic = String.fromCharCode(...this.#take(4));
    const version = this.#u32();
    if (magic !== 'GGUF')
      throw new CheckpointError(
        `Expected ${this.#path} to be a GGUF file, got one that begins with ${quote(magic)}`,
      );
    if (version === 0x03000000 || version === 0x02000000)
      throw this.error('numbers with the lowest byte first, got a file for big-endian machines');
    if (version !== 2 && version !== 3) throw this.error(`version 2 or 3, got ${version}`);
  }

  /** How many there are, each of which takes some bytes at least. */
  count(what: string, most: number, bytes: number): number {
    const count = this.#view64();
    const limit = Math.min(most, Math.floor(this.#fileBytes / bytes));
    if (count > BigInt(limit)) throw this.error(`at most ${limit} ${what}, got ${count}`);
    return Number(count);
  }

  text(what: string, most: number): string {
    const length = this.#view64();
    const limit = Math.min(most, this.#fileBytes - this.at);
    if (length > BigInt(limit))
      throw this.error(`${what} of at most ${limit} bytes, got ${length}`);
    const bytes = this.#take(Number(length));
    try {
      return decoder.decode(bytes);
    } catch {
      throw this.error(`UTF-8 text as ${what}, got other bytes`);
    }
  }

  valueType(key: string): number {
    const type = this.#u32();
    if (valueTypes[type] === undefined)
      throw this.error(
        `a type of value from 0 to ${valueTypes.length - 1} at ${quote(key)}, got ${type}`,
      );
    return type;
  }

  value(key: string, type: number, depth: number): GgufValue {
    const view = this.#view;
    switch (valueTypes[type]) {
      case 'u8':
        return view.getUint8(this.#skip(1));
      case 'i8':
        return view.getInt8(this.#skip(1));
      case 'u16':
        return view.getUint16(this.#skip(2), true);
      case 'i16':
        return view.getInt16(this.#skip(2), true);
      case 'u32':
        return view.getUint32(this.#skip(4), true);
      case 'i32':
        return view.getInt32(this.#skip(4), true);
      case 'f32':
        return view.getFloat32(this.#skip(4), true);
      case 'f64':
        return view.getFloat64(this.#skip(8), true);
      case 'u64':
        return asNumber(view.getBigUint64(this.#skip(8), true));
      case 'i64':
        return asNumber(view.getBigInt64(this.#skip(8), true));
      case 'bool': {
        const byte = view.getUint8(this.#skip(1));
        if (byte > 1) throw this.error(`0 or 1 as the flag ${quote(key)}, got ${byte}`);
        return byte === 1;
      }
      case 'string':
        return this.text(`text at ${quote(key)}`, maxTextBytes);
      default:
        return this.#array(key, depth);
    }
  }

  #array(key: string, depth: number): readonly GgufValue[] {
    if (depth === maxDepth)
      throw this.error(`at most ${maxDepth} arrays in another at ${quote(key)}`);
    const type = this.valueType(key);
    const count = this.count(
      `values at ${quote(key)}`,
      this.#fileBytes - this.at,
      leastBytes[type] as number,
    );
    const values: GgufValue[] = [];
    for (let i = 0; i < count; i++) values.push(this.value(key, type, depth + 1));
    return values;
  }

  tensor(alignment: number): GgufTensor {
    const name = this.text('the name of a tensor', maxNameBytes);
    const fail = (expected: string) =>
      new CheckpointError(`Expected tensor ${quote(name)} in ${this.#path} to have ${expected}`);
    const dimensions = this.#u32();
    if (dimensions > maxDimensions)
      throw fail(`at most ${maxDimensions} dimensions, got ${dimensions}`);
    const sizes: number[] = [];
    let elements = 1;
    for (let i = 0; i < dimensions; i++) {
      const size = this.#view64();
      if (size === 0n) throw fail('sizes of at least 1, got 0');
      elements *= Number(size);
      if (!Number.isSafeInteger(elements)) throw fail('fewer than 2^53 elements, got more');
      sizes.push(Number(size));
    }
    const id = this.#u32();
    const offset = this.#view64();
    const type = ggufTypes.get(id);
    if (type === undefined)
      throw fail(`one of the types ${ggufTypeNames.join(', ')}, got ${unknownType(id)}`);
    const row = sizes[0] ?? 1;
    if (row % type.elements !== 0)
      throw fail(
        `rows of a multiple of ${type.elements} elements, as ${type.name} has blocks, got rows of ${row}`,
      );
    if (offset % BigInt(alignment) !== 0n)
      throw fail(`an offset that is a multiple of ${alignment}, got ${offset}`);
    if (offset > BigInt(this.#fileBytes))
      throw fail(
        `an offset inside the file's ${this.#fileBytes} bytes, got ${offset}: the file is cut, or damaged`,
      );
    return {
      ...{ name, type, shape: sizes.reverse(), offset: Number(offset) },
      byteLength: (elements / type.elements) * type.bytes,
    };
  }

  #u32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  #view64(): bigint {
    return this.#view.getBigUint64(this.#skip(8), true);
  }

  #take(count: number): Uint8Array {
    const at = this.#skip(count);
    return this.#bytes.subarray(at, at + count);
  }

  /** Where the next bytes stand. */
  #skip(count: number): number {
    const { at } = this;
    if (at + count > this.#fileBytes)
      throw this.error(
        `an end inside the file's ${this.#fileBytes} bytes, got more: the file is cut, or damaged`,
      );
    if (at + count > this.#bytes.byteLength) throw new HeaderCut();
    this.at = at + count;
    return at;
  }
}

const asNumber = (value: bigint): number | bigint => {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
};
