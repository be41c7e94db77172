import { CheckpointError, DeviceError } from '../../base/errors.js';
import type { OutputFile } from '../../base/output_file.js';
import { given } from '../../base/rows.js';
import { deviceAt, resolveDevice } from '../../binding/devices.js';
import type { NativePacked } from '../../binding/native.js';
import { expertRows } from '../../layer/experts.js';
import { MoELayer } from '../../layer/layer.js';
import type { HeldOptions, LoadOptions, WeightType } from '../../layer/options.js';
import { type LayerParts, weightGroupOf } from '../../layer/parts.js';
import { CalibratedBlocks, type LayerInputs } from '../calibration.js';
import type { MoECheckpoint } from '../checkpoint.js';
import { bytesPart, GrowingFile, type TensorBytes } from '../containers/growing_file.js';
import { packedDevice } from '../description.js';
import { packedTensor, tablePart } from '../families/packed.js';
import { inLayer } from '../in_layer.js';
import { type PackedDescription, packedMetadata } from './format.js';

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
  const calibrated = calibration && new CalibratedBlocks(checkpoint, calibration);
  // A layer that was not recorded is found before the first one is packed.
  if (calibrated) for (const number of layers) await calibrated.parts(number, held, false);
  let first: { parts: string; description: PackedDescription } | undefined;
  for (const [index, number] of layers.entries()) {
    const options: LoadOptions = {
      ...held,
      device: 'cpu',
      signal,
      onProgress: (done) =>
        onProgress?.(index * expertNum + Math.min(done, expertNum), layers.length * expertNum),
    };
    const parts = await calibrated?.parts(number, options);
    await using layer = await (parts === undefined
      ? checkpoint.load(number, options)
      : inLayer(checkpoint.path, number, () => MoELayer.fromParts(parts)));
    const packed = partsOf(layer);
    // What was published may be of another type in each layer.
    const described =
      layer.weightType === 'published'
        ? layer.weightType
        : JSON.stringify(packed.map(({ name, byteLength }) => ({ name, byteLength })));
    first ??= {
      parts: described,
      description: descriptionOf(
        checkpoint,
        blockOf(checkpoint, layer, held),
        layer.native.packed().layout,
      ),
    };
    if (described !== first.parts)
      throw new CheckpointError(
        `Expected every layer to have the parts ${first.parts}, as the first one packed, got ${described} in layer ` +
          `${number}: pack layers of one kind at a time`,
      );
    for (const part of packed) await file.add({ ...part, name: packedTensor(number, part.name) });
  }
  if (first === undefined) throw new TypeError('No layers to pack');
  const { weightType, layout } = first.description;
  return { weightType, layout, bytes: await file.finish(packedMetadata(first.description)) };
}

/** What is said of a block that was packed. */
type Block = Omit<LayerParts, 'views' | 'notes'>;

function blockOf(checkpoint: MoECheckpoint, layer: MoELayer, held: HeldOptions): Block {
  const { config, hiddenSize, intermediateSize, weightType } = layer;
  const sharedSize = Math.round(config.sharedExpertNum * intermediateSize);
  const sizes = { hiddenSize, intermediateSize, sharedSize };
  return { ...held, ...checkpoint.experts, ...sizes, config, weightType };
}

/** What metadata says of a block, and so of all of them. */
export function descriptionOf(
  { path, modelType }: Pick<MoECheckpoint, 'path' | 'modelType'>,
  block: Block,
  layout: string,
): PackedDescription {
  const { config, hiddenSize, intermediateSize, sharedSize, weightType } = block;
  const { activation, activationType = 'float' } = block;
  return {
    ...{ expertNum: config.expertNum, hiddenSize, intermediateSize, sharedSize },
    ...{ ...given(expertRows, block), activation, weightType, activationType },
    weightGroup: weightGroupOf(block, deviceAt(resolveDevice(packedDevice))?.weights),
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
