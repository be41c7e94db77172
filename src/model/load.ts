import { join } from 'node:path';
import { unexpected } from '../base/checks.js';
import { CheckpointError } from '../base/errors.js';
import { expectOptions } from '../base/rows.js';
import {
  type DeviceName,
  deviceText,
  type ResolvedDevice,
  resolveDevice,
} from '../binding/devices.js';
import type { NativeModel } from '../binding/model.js';
import { settled } from '../binding/settled.js';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { TensorFiles } from '../checkpoint/containers/tensor_files.js';
import { packedDevice } from '../checkpoint/description.js';
import { configName, inConfig, readObject } from '../checkpoint/model_claims.js';
import { readPackedMetadata } from '../checkpoint/packed/format.js';
import { describeModel, type ModelDescription } from './describe.js';
import type { TextFiles } from './gguf_text.js';
import { WeightLoader } from './load_weights.js';
import type { ModelSource } from './model_source.js';
import { ModelTensors } from './model_tensors.js';
import { type ModelLoadOptions, modelLoadRows } from './options.js';
import { modelKey } from './packed/format.js';
import { packedSource } from './packed/read.js';

/** A whole model on a device. */
export interface LoadedModel {
  readonly description: ModelDescription;
  /** The parsed `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The folder of the checkpoint, in which what tells of text stands. */
  readonly folder: string;
  /** What tells of text, where the tensors' own file does. */
  readonly text?: TextFiles;
  readonly device: DeviceName;
  readonly native: NativeModel;
  /** Sentences about what of the checkpoint has no effect. */
  readonly notes: readonly string[];
  /** Ends the model and lets go of its files. */
  close(): Promise<void>;
}

/**
 * Loads a whole model: describes it by its config, looks at every tensor, and then packs layer after layer onto the device.
 *
 * @param path a folder with `config.json` and safetensors, or a GGUF file
 * @param files what is there, where it is open
 * @throws `ConfigError`, `CheckpointError`, `DeviceError`, and the signal's reason when aborted
 */
export async function loadModel(
  path: string,
  options: ModelLoadOptions = {},
  files?: TensorFiles,
): Promise<LoadedModel> {
  expectOptions('MoEModel.load', options, modelLoadRows);
  if (typeof path !== 'string' || path === '') throw unexpected('path', 'a path', path);
  const tensors = files ?? (await TensorFiles.open(path));
  const { folder } = tensors;
  const { config, description, text } = await readDescription(tensors, options);
  options.signal?.throwIfAborted();
  const checkpoint = await MoECheckpoint.of(tensors, path);
  try {
    const source = await sourceOf(checkpoint, folder, description);
    const device = deviceOf(source, options);
    const loader = new WeightLoader(checkpoint, source, description, device, options);
    const native = await loader.load(await loader.check());
    const { notes } = loader;
    const close = async () => {
      await settled(() => native.close());
      await checkpoint.close();
    };
    const told = { description, config, folder, ...(text && { text }) };
    return { ...told, device: deviceText(device), native, notes, close };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * Looks at all that would be loaded.
 *
 * @throws what `loadModel` throws
 */
export async function checkModel(
  checkpoint: MoECheckpoint,
  folder: string,
  description: ModelDescription,
  device: ResolvedDevice,
): Promise<ModelSource> {
  const source = await sourceOf(checkpoint, folder, description);
  await new WeightLoader(checkpoint, source, description, device, {}).check();
  return source;
}

/** A packed model is left to the only device that takes it. */
function deviceOf({ inPlace }: ModelSource, { device = 'auto' }: ModelLoadOptions): ResolvedDevice {
  return resolveDevice(inPlace && device === 'auto' ? packedDevice : device);
}

async function sourceOf(
  checkpoint: MoECheckpoint,
  folder: string,
  description: ModelDescription,
): Promise<ModelSource> {
  const packed = await packedSource(checkpoint, folder, description);
  return packed ?? new ModelTensors(checkpoint, description);
}

/** What the files beside a model's tensors say of it, or their own metadata. */
export async function readDescription(
  { folder, gguf, paths, metadata }: TensorFiles,
  options: Pick<ModelLoadOptions, 'contextLength'> = {},
): Promise<Pick<LoadedModel, 'config' | 'description' | 'text'>> {
  const [list] = paths as [string];
  if (readPackedMetadata(list, metadata) !== undefined && !metadata.has(modelKey))
    throw new CheckpointError(
      `Expected ${list} to be a whole model, got MoE layers that were packed alone: pack the checkpoint into a folder`,
    );
  if (gguf !== undefined) {
    const { textOfGguf } = await import('./gguf_text.js');
    const text = textOfGguf(list, gguf.metadata);
    const { config } = gguf;
    const generation = 'error' in text ? undefined : text.files.generationConfig;
    return {
      config,
      text,
      description: inConfig(list, () => describeModel(config, generation, options)),
    };
  }
  const path = join(folder, configName);
  const config = await readObject(path);
  if (config === undefined)
    throw new CheckpointError(
      `Expected ${folder} to hold ${configName}, which says what model it is, got none`,
    );
  const generation = await readObject(join(folder, 'generation_config.json'));
  return { config, description: inConfig(path, () => describeModel(config, generation, options)) };
}
