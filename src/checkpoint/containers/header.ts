import { CheckpointError } from '../../base/errors.js';
import { dtypeNames, tensorBytes } from './dtype.js';
import { JsonReader, quote } from './json_reader.js';

/** Bytes before the header: its length, a little-endian 64-bit integer. */
export const lengthBytes = 8;

/** Longest header read. The format's own limit; 100,000 tensors need an eighth of it. */
const maxHeaderBytes = 100_000_000;

/** What a safetensors header says about one tensor. */
export interface TensorEntry {
  readonly name: string;
  /** Its name in the file where that is another; several may be parts of one. */
  readonly ownName?: string;
  /** `F32`, `BF16`, `I64`, ...: one of the format's type names. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Counted from the start of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
  /** As `MatrixView.pairedRows`. */
  readonly pairedRows?: number;
}

export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The text values under `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** Reads the header's length from a file's first bytes. Throws `CheckpointError` when the header cannot be inside. */
export function parseHeaderLength(path: string, start: Uint8Array, fileBytes: number): number {
  if (start.byteLength < lengthBytes)
    throw new CheckpointError(
      `Expected ${path} to be a safetensors file of at least 8 bytes, got ${fileBytes} bytes`,
    );
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  const limit = Math.min(maxHeaderBytes, fileBytes - lengthBytes);
  if (length < 2n || length > BigInt(limit)) {
    const reason =
      limit < maxHeaderBytes ? `the file has ${fileBytes} bytes` : 'longer headers are refused';
    throw new CheckpointError(
      `Expected ${path} to be a safetensors file with a header of 2 to ${limit} bytes (${reason}), got a length of ${length}`,
    );
  }
  return Number(length);
}

/**
 * Reads and checks a header: every tensor's type, shape and bytes, and that together they cover the data without
 * overlap or hole. Throws `CheckpointError`, naming file and tensor, at the first thing that is wrong.
 *
 * @param header the header's JSON text as UTF-8, without the length before it
 * @param fileBytes length of the whole file
 */
export function parseHeader(
  path: string,
  header: Uint8Array,
  fileBytes: number,
): SafetensorsHeader {
  if (header[0] !== 0x7b)
    throw new CheckpointError(
      `Expected the header of ${path} to begin with "{", got byte ${header[0]}`,
    );
  let subject = `the header of ${path}`;
  const reader = new JsonReader(decodeUtf8(path, header), (expected, got) => {
    return new CheckpointError(`Expected ${subject} to have ${expected}, got ${got}`);
  });
  const dataStart = lengthBytes + header.byteLength;
  const entries: TensorEntry[] = [];
  const metadata = new Map<string, string>();
  reader.object((name) => {
    if (name === '__metadata__')
      return reader.object((key) => void metadata.set(key, reader.string()));
    subject = tensorIn(path, name);
    entries.push(readEntry(reader, subject, name, dataStart, fileBytes));
    subject = `the header of ${path}`;
  });
  reader.end();
  entries.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  checkCoverage(path, entries, dataStart, fileBytes);
  return { tensors: new Map(entries.map((entry) => [entry.name, entry])), metadata };
}

/** How messages name a tensor. */
export function tensorIn(path: string, name: string): string {
  return `tensor ${quote(name)} in ${path}`;
}

function decodeUtf8(path: string, header: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch (cause) {
    throw new CheckpointError(`Expected the header of ${path} to be UTF-8 text, got other bytes`, {
      cause,
    });
  }
}

function readEntry(
  reader: JsonReader,
  subject: string,
  name: string,
  dataStart: number,
  fileBytes: number,
): TensorEntry {
  const fail = (expected: string, got: string) =>
    new CheckpointError(`Expected ${subject} to have ${expected}, got ${got}`);
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  reader.object((key) => {
    if (key === 'dtype') dtype = reader.string();
    else if (key === 'shape') shape = reader.integers();
    else if (key === 'data_offsets') offsets = reader.integers();
    else throw fail('the fields dtype, shape and data_offsets', quote(key));
  });
  if (dtype === undefined) throw fail('the field dtype', 'none');
  if (shape === undefined) throw fail('the field shape', 'none');
  if (offsets === undefined) throw fail('the field data_offsets', 'none');
  if (!dtypeNames.includes(dtype))
    throw fail(`one of the types ${dtypeNames.join(', ')}`, quote(dtype));

  const [begin, end] = offsets;
  const dataBytes = fileBytes - dataStart;
  if (
    offsets.length !== 2 ||
    begin === undefined ||
    end === undefined ||
    begin > end ||
    end > dataBytes
  ) {
    const reason = end !== undefined && end > dataBytes ? ': the file is too short for it' : '';
    throw fail(`two data_offsets in order, from 0 to ${dataBytes}`, shapeText(offsets) + reason);
  }
  const bytes = tensorBytes(dtype, shape);
  if (bytes === undefined)
    throw fail('a size in whole bytes below 2^53', `${dtype} of shape ${shapeText(shape)}`);
  if (bytes !== end - begin)
    throw fail(
      `${bytes} bytes of data (${dtype}, shape ${shapeText(shape)})`,
      `${end - begin} (data_offsets)`,
    );
  return { name, dtype, shape, byteOffset: dataStart + begin, byteLength: bytes };
}

/** Entries come sorted by offset. */
function checkCoverage(
  path: string,
  entries: readonly TensorEntry[],
  dataStart: number,
  fileBytes: number,
): void {
  let covered = dataStart;
  for (const { name, byteOffset, byteLength } of entries) {
    if (byteOffset !== covered) {
      const kind =
        byteOffset < covered ? 'an overlap with the tensor before it' : 'a hole before it';
      throw new CheckpointError(
        `Expected ${tensorIn(path, name)} to begin at data offset ${covered - dataStart}, ` +
          `got ${byteOffset - dataStart}: ${kind}`,
      );
    }
    covered += byteLength;
  }
  if (covered !== fileBytes)
    throw new CheckpointError(
      `Expected the tensors of ${path} to fill its ${fileBytes - dataStart} bytes of data, ` +
        `got ${covered - dataStart} bytes of tensors`,
    );
}

/** `[2, 3]`, cut to a length fit for a message. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.slice(0, 8).join(', ')}${shape.length > 8 ? ', ...' : ''}]`;
}
