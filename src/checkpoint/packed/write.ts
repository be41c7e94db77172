import { CheckpointError, DeviceError } from '../../base/errors.js';
import type { OutputFile } from '../../base/output_file.js';
import { given } from '../../base/rows.js';
import { deviceAt, resolveDevice } from '../../binding/devices.js';
import type { NativePacked } from '../../binding/native.js';
import { expertRows } from '../../layer/experts.js';
import { MoELayer } from '../../layer/layer.js';
import type { HeldOptions, LoadOptions, WeightType } from '../../layer/options.js';
import { type LayerParts, weightGroupOf } from '../../layer/parts.js';
import { typeOfAll } from '../../layer/weights.js';
import { CalibratedBlocks, type LayerInputs } from '../calibration.js';
import type { MoECheckpoint } from '../checkpoint.js';
import { bytesPart, GrowingFile, type TensorBytes } from '../containers/growing_file.js';
import { packedDevice } from '../description.js';
import { packedTensor, tablePart } from '../families/packed.js';
import { inLayer } from '../in_layer.js';
import { typesIn } from '../stored.js';
import { type PackedDescription, packedMetadata, type StoredTypes } from './format.js';

/** Of a layer. */
const mostParts = 64;

export interface PackOptions extends Omit<HeldOptions, 'device'> {
  /** Numbers of the MoE layers to pack. */
  layers: readonly number[];
  /** What their weights are quantised by. */
  calibration?: LayerInputs | undefined;
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
  { layers, calibration, onProgress, signal, ...held }: PackOptions,
): Promise<PackResult> {
  checkpoint.expectAlike(layers);
  const { expertNum } = checkpoint.config;
  const file = new GrowingFile(output, mostParts * layers.length, signal);
  const blocks = calibration ? new CalibratedBlocks(checkpoint, calibration) : checkpoint;
  const options: LoadOptions = { ...held, device: packedDevice, signal };
  // What a layer lacks, a recording too, is found before the first one is packed.
  const types: WeightType[] = [];
  for (const number of layers) types.push((await blocks.parts(number, options, false)).weightType);
  const weightType = typeOfAll(types, heldByDevice);
  let first: { parts: string; description: PackedDescription } | undefined;
  for (const [index, number] of layers.entries()) {
    const parts = await blocks.parts(number, {
      ...{ ...options, weightType },
      onProgress: (done) =>
        onProgress?.(index * expertNum + Math.min(done, expertNum), layers.length * expertNum),
    });
    await using layer = await inLayer(checkpoint.path, number, () => MoELayer.fromParts(parts));
    const packed = partsOf(layer);
    // What was published may be of another type in each layer.
    const described =
      weightType === 'published'
        ? weightType
        : JSON.stringify(packed.map(({ name, byteLength }) => ({ name, byteLength })));
    first ??= {
      parts: described,
      description: descriptionOf(checkpoint, parts, layer.native.packed().layout),
    };
    if (described !== first.parts)
      throw new CheckpointError(
        `Expected every layer to have the parts ${first.parts}, as the first one packed, got ${described} in layer ` +
          `${number}: pack layers of one kind at a time`,
      );
    for (const part of packed) await file.add({ ...part, name: packedTensor(number, part.name) });
  }
  if (first === undefined) throw new TypeError('No layers to pack');
  const { description } = first;
  const stored = await storedTypes(checkpoint, layers);
  const bytes = await file.finish(packedMetadata(description, stored));
  return { weightType: description.weightType, layout: description.layout, bytes };
}

/** What the metadata says of layers before they were packed. */
export async function storedTypes(
  checkpoint: Pick<MoECheckpoint, 'tensorsOf'>,
  layers: readonly number[],
): Promise<StoredTypes> {
  const stored = new Map<number, readonly string[]>();
  for (const layer of layers) stored.set(layer, typesIn(await checkpoint.tensorsOf(layer)));
  return stored;
}

const heldByDevice = () => deviceAt(resolveDevice(packedDevice))?.weights;

/** What metadata says of a block, and so of all of them. */
export function descriptionOf(
  { path, modelType }: Pick<MoECheckpoint, 'path' | 'modelType'>,
  block: LayerParts,
  layout: string,
): PackedDescription {
  const { config, hiddenSize, intermediateSize, sharedSize, weightType } = block;
  const { activation, activationType = 'float' } = block;
  return {
    ...{ expertNum: config.expertNum, hiddenSize, intermediateSize, sharedSize },
    ...{ ...given(expertRows, block), activation, weightType, activationType },
    weightGroup: weightGroupOf(block, heldByDevice()),
    ...{ config, modelType, source: path, layout },
  };
}

/**
 * What a device made of weights, to be written down.
 *
 * @throws `DeviceError` where it cannot tell
 */
export function bytesOf(
  { parts }: NativePacked,
  read: (part: number, offset: number, length: number) => Uint8Array,
): TensorBytes[] {
  if (parts.length === 0)
    throw new DeviceError(
      'ERR_MOE_DEVICE',
      `Expected a device that can write down its weights, got ${packedDevice}`,
    );
  return parts.map(({ name, byteLength }, index) =>
    bytesPart(name, byteLength, (offset, length) => read(index, offset, length)),
  );
}

/** Of the device, in its order, and the table that no device knows of. */
function partsOf(layer: MoELayer): TensorBytes[] {
  const { native, expertTable } = layer;
  const ofDevice = bytesOf(native.packed(), (...place) => native.readPacked(...place));
  if (expertTable === undefined) return ofDevice;
  const { buffer, byteOffset, byteLength } = expertTable;
  const ofTable = (offset: number, length: number) =>
    new Uint8Array(buffer, byteOffset + offset, length);
  return [...ofDevice, bytesPart(tablePart, byteLength, ofTable)];
}
