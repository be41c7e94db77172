import { ShapeError } from '../../base/errors.js';
import { OutputFile } from '../../base/output_file.js';
import { tensorBytes } from './dtype.js';
import { lengthBytes, shapeText } from './header.js';

/** A tensor to write. 16-bit floats are given as their bits. */
export interface TensorToWrite {
  /** One of the format's type names: `F32`, `BF16`, `I64`, ... */
  dtype: string;
  shape: readonly number[];
  /** Row-major; as many bytes as type and shape say. */
  data: ArrayBufferView;
}

/**
 * Writes a safetensors file as `OutputFile` does. Tensors follow one another as given, wider types first, so that each begins
 * at a multiple of its element's size.
 *
 * Throws `ShapeError` when an array does not have the bytes that its type and shape say.
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, TensorToWrite>>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const chunks = encodeSafetensors(tensors, metadata);
  await using file = await OutputFile.open('path', path);
  await file.write(chunks);
}

/** The chunks of a safetensors file: the header, then each tensor's bytes, not copied. */
export function encodeSafetensors(
  tensors: Readonly<Record<string, TensorToWrite>>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array[] {
  const ordered = Object.entries(tensors).sort(([, a], [, b]) => elementBytes(b) - elementBytes(a));
  const header = new Map<string, unknown>(
    metadata === undefined ? [] : [['__metadata__', metadata]],
  );
  const chunks: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { dtype, shape, data }] of ordered) {
    const bytes = tensorBytes(dtype, shape);
    if (bytes !== data.byteLength)
      throw new ShapeError(
        `Expected tensor "${name}" (${dtype}, shape ${shapeText(shape)}) to have ${bytes} bytes, got ${data.byteLength}`,
      );
    header.set(name, { dtype, shape, data_offsets: [offset, offset + bytes] });
    chunks.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    offset += bytes;
  }
  return [encodeHeader(Object.fromEntries(header), lengthBytes), ...chunks];
}

/** A header with its length before it, padded so that the data behind it begins at a multiple of `alignment` bytes. */
export function encodeHeader(entries: object, alignment: number): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(entries));
  const bytes = Math.ceil((lengthBytes + text.byteLength) / alignment) * alignment;
  const header = new Uint8Array(bytes).fill(0x20);
  header.set(text, lengthBytes);
  new DataView(header.buffer).setBigUint64(0, BigInt(bytes - lengthBytes), true);
  return header;
}

function elementBytes({ dtype }: TensorToWrite): number {
  return tensorBytes(dtype, [1]) ?? 0;
}
