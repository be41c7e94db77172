import { CheckpointError } from '../../base/errors.js';
import type { Tensor } from '../../layer/weights.js';
import { readAt, withFile } from './disk.js';
import { floatType } from './dtype.js';
import {
  lengthBytes,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
  type TensorEntry,
  tensorIn,
} from './header.js';
import { expectSameFile, type TensorFile } from './tensor_file.js';

/**
 * One safetensors file. Opening it reads and checks the header; tensors are read when asked for.
 *
 * ```ts
 * const file = await SafetensorsFile.open('model.safetensors');
 * const hidden = await file.readTensor('layers.0.input');
 * ```
 */
export class SafetensorsFile implements TensorFile {
  readonly path: string;
  /** Which file it is, to tell whether it is still the one whose header was checked. */
  readonly identity: string;
  /** By name, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The text values under `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;

  private constructor(path: string, identity: string, { tensors, metadata }: SafetensorsHeader) {
    this.path = path;
    this.identity = identity;
    this.tensors = tensors;
    this.metadata = metadata;
  }

  /** Throws `CheckpointError` when the file is missing, unreadable, damaged or not a safetensors file. */
  static open(path: string): Promise<SafetensorsFile> {
    return withFile(path, async (handle, { byteLength, identity }) => {
      const start = await readAt(handle, path, 0, Math.min(lengthBytes, byteLength));
      const headerBytes = parseHeaderLength(path, start, byteLength);
      const header = await readAt(handle, path, lengthBytes, headerBytes);
      return new SafetensorsFile(path, identity, parseHeader(path, header, byteLength));
    });
  }

  /** What the header says about a tensor. Throws `CheckpointError` when there is none of that name. */
  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry === undefined)
      throw new CheckpointError(`Expected ${tensorIn(this.path, name)}, got none of that name`);
    return entry;
  }

  /** A tensor's bytes, little-endian and row-major as they stand in the file. */
  async readBytes(name: string): Promise<Uint8Array> {
    const { byteOffset, byteLength } = this.entry(name);
    return withFile(this.path, (handle, { identity }) => {
      this.expectSame(identity);
      return readAt(handle, this.path, byteOffset, byteLength);
    });
  }

  /** Throws `CheckpointError` when a file of this identity is not the one whose header was checked. */
  expectSame(identity: string): void {
    expectSameFile(this, identity);
  }

  /** A tensor of 32-bit or 16-bit floats. Throws `CheckpointError` for other types. */
  async readTensor(name: string): Promise<Tensor> {
    const entry = this.entry(name);
    const dtype = floatType(entry.dtype);
    if (dtype === undefined)
      throw new CheckpointError(
        `Expected ${tensorIn(this.path, name)} to have type F32, BF16 or F16, got ${entry.dtype}`,
      );
    const { buffer } = await this.readBytes(name);
    return {
      dtype,
      shape: entry.shape,
      data: dtype === 'float32' ? new Float32Array(buffer) : new Uint16Array(buffer),
    };
  }
}
