import { CheckpointError, DeviceError } from '../../base/errors.js';
import type { OutputFile } from '../../base/output_file.js';
import type { MoELayer } from '../../layer/layer.js';
import type { HeldOptions, WeightType } from '../../layer/options.js';
import type { MoECheckpoint } from '../checkpoint.js';
import { lengthBytes } from '../containers/header.js';
import { tablePart } from '../families/packed.js';
import { type PackedDescription, packedMetadata } from './format.js';

/** Parts begin at multiples of this in the file: a cache line. */
const alignment = 64;

/** How much of a part is in memory twice. */
const chunkBytes = 16 << 20;

export interface PackOptions extends Omit<HeldOptions, 'device'> {
  /** Numbers of the MoE layers to pack. */
  layers: readonly number[];
  /** Counts experts of all layers. */
  onProgress?: (done: number, total: number) => void;
  signal: AbortSignal;
}

export interface PackResult {
  weightType: WeightType;
  layout: string;
  /** Of the file. */
  bytes: number;
}

/**
 * Packs layers of a checkpoint into one file, layer by layer: no more than one is in memory.
 *
 * @throws what loading a layer throws, or the signal's reason
 */
export async function packCheckpoint(
  checkpoint: MoECheckpoint,
  output: OutputFile,
  { layers, onProgress, signal, ...held }: PackOptions,
): Promise<PackResult> {
  checkpoint.expectAlike(layers);
  const { expertNum } = checkpoint.config;
  let file: PackedFile | undefined;
  for (const [index, layer] of layers.entries()) {
    await using loaded = await checkpoint.load(layer, {
      ...held,
      device: 'cpu',
      signal,
      onProgress: (done) =>
        onProgress?.(index * expertNum + Math.min(done, expertNum), layers.length * expertNum),
    });
    // Every layer of a checkpoint has the same sizes, so the first tells where all of them go.
    file ??= new PackedFile(output, layers, descriptionOf(checkpoint, loaded, held), loaded);
    await file.write(layer, loaded, signal);
  }
  if (file === undefined) throw new TypeError('No layers to pack');
  await output.finish();
  return file.result;
}

function descriptionOf(
  checkpoint: MoECheckpoint,
  layer: MoELayer,
  { weightGroup, activationType = 'float' }: HeldOptions,
): PackedDescription {
  const { hiddenSize, intermediateSize, activation, weightType, config } = layer;
  return {
    expertNum: config.expertNum,
    hiddenSize,
    intermediateSize,
    sharedSize: Math.round(config.sharedExpertNum * intermediateSize),
    activation,
    weightType,
    weightGroup,
    activationType,
    config,
    modelType: checkpoint.modelType,
    source: checkpoint.path,
    layout: layer.native.packed().layout,
  };
}

/** The file as it grows: the header is written first, then each layer at its place. */
class PackedFile {
  readonly result: PackResult;
  readonly #output: OutputFile;
  readonly #offsets = new Map<string, number>();
  readonly #header: Uint8Array;
  readonly #parts: string;
  #headerWritten = false;

  constructor(
    output: OutputFile,
    layers: readonly number[],
    description: PackedDescription,
    first: MoELayer,
  ) {
    const parts = partsOf(first);
    if (parts.length === 0)
      throw new DeviceError(
        'ERR_MOE_DEVICE',
        `Expected a device that can write down its weights, got ${first.device}`,
      );
    this.#output = output;
    this.#parts = JSON.stringify(parts);
    const entries: Record<string, unknown> = { __metadata__: packedMetadata(description) };
    // Parts that are no multiple of a cache line come last: those before them stay aligned.
    const ordered = parts
      .flatMap(({ name, byteLength }) => layers.map((layer) => ({ name, byteLength, layer })))
      .sort((a, b) => (a.byteLength % alignment) - (b.byteLength % alignment));
    let offset = 0;
    for (const { name, byteLength, layer } of ordered) {
      const end = offset + byteLength;
      const tensor = partName(layer, name);
      entries[tensor] = { dtype: 'U8', shape: [byteLength], data_offsets: [offset, end] };
      this.#offsets.set(tensor, offset);
      offset = end;
    }
    this.#header = headerOf(entries);
    const { weightType, layout } = description;
    this.result = { weightType, layout, bytes: this.#header.byteLength + offset };
  }

  async write(number: number, layer: MoELayer, signal: AbortSignal): Promise<void> {
    if (!this.#headerWritten) await this.#output.writeAt(this.#header, 0);
    this.#headerWritten = true;
    const parts = partsOf(layer);
    const described = JSON.stringify(parts);
    if (described !== this.#parts)
      throw new CheckpointError(
        `Expected every layer to have the parts ${this.#parts}, as the first one packed, got ${described} in layer ` +
          `${number}: pack layers of one kind at a time`,
      );
    for (const [index, { name, byteLength }] of parts.entries()) {
      const begin = this.#header.byteLength + (this.#offsets.get(partName(number, name)) as number);
      for (let done = 0; done < byteLength; done += chunkBytes) {
        signal.throwIfAborted();
        const length = Math.min(chunkBytes, byteLength - done);
        const bytes =
          name === tablePart
            ? tableBytes(layer).subarray(done, done + length)
            : layer.native.readPacked(index, done, length);
        await this.#output.writeAt(bytes, begin + done);
      }
    }
  }
}

const tableBytes = ({ expertTable }: MoELayer): Uint8Array =>
  expertTable === undefined
    ? new Uint8Array()
    : new Uint8Array(expertTable.buffer, expertTable.byteOffset, expertTable.byteLength);

/** Of the device, in its order, and the table that no device knows of. */
function partsOf(layer: MoELayer): { name: string; byteLength: number }[] {
  const { parts } = layer.native.packed();
  const { byteLength } = tableBytes(layer);
  return byteLength > 0 && parts.length > 0 ? [...parts, { name: tablePart, byteLength }] : parts;
}

const partName = (layer: number, name: string): string => `layers.${layer}.packed.${name}`;

/** Length and text, padded so that the data behind it is aligned. */
function headerOf(entries: Record<string, unknown>): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(entries));
  const bytes = Math.ceil((lengthBytes + text.byteLength) / alignment) * alignment;
  const header = new Uint8Array(bytes).fill(0x20);
  header.set(text, lengthBytes);
  new DataView(header.buffer).setBigUint64(0, BigInt(bytes - lengthBytes), true);
  return header;
}
