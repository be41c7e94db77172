import type { OutputFile } from '../../base/output_file.js';
import { encodeHeader } from './write.js';

/** Tensors begin at multiples of this in the file: a cache line. */
const alignment = 64;

/** How much of a tensor is in memory twice. */
const chunkBytes = 16 << 20;

/** What a header takes for each tensor at most, and for what the file says of itself. */
const tensorBytes = 256;
const metadataBytes = 1 << 17;

/** What a tensor's bytes are read from, piece by piece. */
export interface TensorBytes {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly byteLength: number;
  read(offset: number, length: number): Uint8Array;
}

/** Bytes of no type. */
export const bytesPart = (
  name: string,
  byteLength: number,
  read: TensorBytes['read'],
): TensorBytes => ({ name, dtype: 'U8', shape: [byteLength], byteLength, read });

/**
 * A safetensors file whose tensors come one after another, before it is known how many there will be. The header's place is
 * kept free at the file's start; tensors that are no multiple of a cache line wait in memory and come last, so that those
 * before them stay aligned.
 */
export class GrowingFile {
  readonly #output: OutputFile;
  readonly #headerBytes: number;
  readonly #signal: AbortSignal;
  readonly #entries = new Map<string, object>();
  readonly #waiting: TensorBytes[] = [];
  #end = 0;

  /** @param mostTensors as many as there may be, for which the header's place is kept free */
  constructor(output: OutputFile, mostTensors: number, signal: AbortSignal) {
    this.#output = output;
    this.#headerBytes = metadataBytes + mostTensors * tensorBytes;
    this.#signal = signal;
  }

  async add(tensor: TensorBytes): Promise<void> {
    if (tensor.byteLength % alignment === 0) return this.#write(tensor);
    const bytes = tensor.read(0, tensor.byteLength).slice();
    this.#waiting.push({
      ...tensor,
      read: (offset, length) => bytes.subarray(offset, offset + length),
    });
  }

  /**
   * Writes what is left.
   *
   * @returns the bytes of the file
   */
  async finish(metadata: Readonly<Record<string, string>>): Promise<number> {
    for (const tensor of this.#waiting) await this.#write(tensor);
    const entries = { __metadata__: metadata, ...Object.fromEntries(this.#entries) };
    const header = encodeHeader(entries, this.#headerBytes);
    if (header.byteLength > this.#headerBytes)
      throw new RangeError(`Expected a header of at most ${this.#headerBytes} bytes`);
    await this.#output.writeAt(header, 0);
    await this.#output.finish();
    return this.#headerBytes + this.#end;
  }

  async #write({ name, dtype, shape, byteLength, read }: TensorBytes): Promise<void> {
    const end = this.#end + byteLength;
    this.#entries.set(name, { dtype, shape, data_offsets: [this.#end, end] });
    const begin = this.#headerBytes + this.#end;
    for (let done = 0; done < byteLength; done += chunkBytes) {
      this.#signal.throwIfAborted();
      const bytes = read(done, Math.min(chunkBytes, byteLength - done));
      await this.#output.writeAt(bytes, begin + done);
    }
    this.#end = end;
  }
}
