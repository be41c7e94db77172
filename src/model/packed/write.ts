// Packs a whole model for this CPU into a folder.
import { constants, copyFile, cp, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { ConfigError } from '../../base/errors.js';
import { OutputFile } from '../../base/output_file.js';
import type { OutputFolder } from '../../base/output_folder.js';
import { isBlockType } from '../../binding/block_types.js';
import { resolveDevice } from '../../binding/devices.js';
import { kvBlock, type NativeModel } from '../../binding/model.js';
import { settled } from '../../binding/settled.js';
import type { MatrixView } from '../../binding/views.js';
import { CalibratedBlocks, type LayerInputs } from '../../checkpoint/calibration.js';
import { MoECheckpoint } from '../../checkpoint/checkpoint.js';
import { GrowingFile, type TensorBytes } from '../../checkpoint/containers/growing_file.js';
import { packedDevice } from '../../checkpoint/description.js';
import { configName } from '../../checkpoint/model_claims.js';
import { packedMetadata, readPackedMetadata } from '../../checkpoint/packed/format.js';
import { bytesOf, descriptionOf, storedTypes } from '../../checkpoint/packed/write.js';
import type { WeightType } from '../../layer/options.js';
import type { TokenizerFiles } from '../../text/gguf_tokenizer.js';
import type { TextFiles } from '../gguf_text.js';
import { readDescription } from '../load.js';
import { WeightLoader } from '../load_weights.js';
import { ModelTensors } from '../model_tensors.js';
import type { HeldModelOptions, ModelLoadOptions } from '../options.js';
import {
  type DigestedTensor,
  digestOf,
  digestOfTensors,
  isOfEmbedding,
  modelKey,
  type PackedModelDescription,
  packedEmbedding,
  tensorOf,
} from './format.js';

/** What stands beside the weights and is part of a model: its config, its text, its licence. */
const besides = new Set(['.json', '.jinja', '.txt', '.model', '.tiktoken', '.md', '']);
const mostBytesBesides = 256 << 20;
const templatesFolder = 'additional_chat_templates';

/** Of a layer. */
const mostTensors = 64;

export interface PackModelOptions
  extends Pick<
      HeldModelOptions,
      'weightType' | 'weightGroup' | 'activationType' | 'outputType' | 'threads'
    >,
    Pick<ModelLoadOptions, 'onProgress'> {
  /** What the weights of its experts are quantised by. */
  calibration?: LayerInputs | undefined;
  signal: AbortSignal;
}

export interface PackedModelResult {
  layers: number;
  /** Of experts; of attention and dense layers; of the output head. */
  weightType: WeightType;
  attentionType: WeightType;
  outputType: WeightType;
  layout: string;
  /** What of the checkpoint has no effect, what the folder lacks, and why. */
  notes: readonly string[];
  /** Of the weights' file. */
  bytes: number;
}

/**
 * Packs a model layer by layer: no more than one is in memory.
 *
 * @param path the checkpoint's folder, or a GGUF file
 * @throws what loading a model throws, or the signal's reason
 */
export async function packModel(
  path: string,
  folder: OutputFolder,
  { signal, onProgress, calibration, ...held }: PackModelOptions,
): Promise<PackedModelResult> {
  await using checkpoint = await MoECheckpoint.open(path);
  const { tensors } = checkpoint;
  if (readPackedMetadata(tensors.paths[0] as string, tensors.metadata) !== undefined)
    throw new ConfigError(`Expected a checkpoint that is not packed, got ${path}, which is`);
  // How long sequences may be is said when the model is loaded.
  const { config, description, text } = await readDescription(tensors, { contextLength: 1 });
  const source = new ModelTensors(checkpoint, description);
  const device = resolveDevice(packedDevice);
  const options: ModelLoadOptions = { ...held, kvTokens: kvBlock, signal, onProgress };
  const blocks = calibration ? new CalibratedBlocks(checkpoint, calibration) : checkpoint;
  const loader = new WeightLoader(blocks, source, description, device, options);
  const spec = await loader.check();
  const { dtype } = (await source.outer(false)).views.embedding as MatrixView;
  const moeLayers = description.layers.flatMap(({ dense }, layer) => (dense ? [] : [layer]));
  checkpoint.expectAlike(moeLayers);
  if (tensors.gguf === undefined) await copyBesides(tensors.folder, folder);
  else await writeBesides(folder, config, text);
  await using output = await OutputFile.open('--out', folder.pathOf('model.safetensors'), {
    outOfOrder: true,
  });
  const most = mostTensors * (description.layers.length + 1);
  const file = new PackedModelFile(new GrowingFile(output, most, signal));
  const layouts = { layout: '', headLayout: '' };
  // Each layer is a model of its own, so that the ones before it need not stay in memory.
  const ofOne = { ...spec, layers: 1 };
  for (const [layer, { dense }] of description.layers.entries()) {
    const native = await loader.create(ofOne);
    try {
      await loader.add(native, layer, ofOne);
      layouts.layout = await file.add(native, 0, (part) =>
        tensorOf(layer, part, dense === undefined),
      );
      if (layer !== description.layers.length - 1) continue;
      await loader.finish(native);
      layouts.headLayout = await file.add(native, undefined, (part) =>
        tensorOf(undefined, part, false),
      );
    } finally {
      await settled(() => native.close());
    }
  }
  await file.addEmbedding(checkpoint);
  const { projections, head } = spec;
  const model: PackedModelDescription = {
    ...{ projections, head, ...layouts, tensors: file.digest },
    ...(isBlockType(dtype) && { embedding: dtype }),
    config: digestOf(await readFile(folder.pathOf(configName))),
  };
  const bytes = await file.finish({
    ...packedMetadata(
      descriptionOf(checkpoint, loader.block, layouts.layout),
      await storedTypes(checkpoint, moeLayers),
    ),
    [modelKey]: JSON.stringify(model),
  });
  await folder.finish();
  return {
    ...{ layers: description.layers.length, weightType: loader.block.weightType },
    ...{ attentionType: projections.weightType, outputType: head.weightType },
    ...{ layout: layouts.layout, bytes },
    notes: [
      ...loader.notes,
      ...(text !== undefined && 'error' in text
        ? [`the packed folder has no tokenizer: ${text.error.message}`]
        : []),
    ],
  };
}

/** The file of a packed model as it grows. */
class PackedModelFile {
  readonly #file: GrowingFile;
  readonly #tensors: DigestedTensor[] = [];

  constructor(file: GrowingFile) {
    this.#file = file;
  }

  get digest(): string {
    return digestOfTensors(this.#tensors);
  }

  /**
   * Adds all parts of a layer, or of what stands behind the layers.
   *
   * @returns their layout
   */
  async add(
    native: NativeModel,
    layer: number | undefined,
    nameOf: (part: string) => string,
  ): Promise<string> {
    const packed = native.packed(layer);
    const parts = bytesOf(packed, (...place) => native.readPacked(layer, ...place));
    for (const part of parts) await this.#add({ ...part, name: nameOf(part.name) });
    return packed.layout;
  }

  /** Adds the embedding as the checkpoint has it: its rows are read as they are needed. */
  async addEmbedding(checkpoint: MoECheckpoint): Promise<void> {
    const { tensors } = checkpoint;
    for (const own of [...tensors.names].filter(isOfEmbedding)) {
      const stored = await tensors.fileOf(own);
      const { dtype, shape, byteOffset, byteLength } = stored.entry(own);
      const source = checkpoint.map(stored);
      const [rows = 1] = shape;
      await this.#add({
        ...{ name: packedEmbedding(own), byteLength },
        ...(isBlockType(dtype)
          ? { dtype: 'U8', shape: [rows, byteLength / rows] }
          : { dtype, shape }),
        read: (offset, length) => source.read(byteOffset + offset, length),
      });
    }
  }

  finish(metadata: Readonly<Record<string, string>>): Promise<number> {
    return this.#file.finish(metadata);
  }

  async #add(tensor: TensorBytes): Promise<void> {
    this.#tensors.push(tensor);
    await this.#file.add(tensor);
  }
}

/** What a GGUF file says in its metadata, in files as models of Hugging Face have them. */
async function writeBesides(
  to: OutputFolder,
  config: object,
  text: TextFiles | undefined,
): Promise<void> {
  const { tokenizerJson, tokenizerConfig, generationConfig } =
    text !== undefined && 'files' in text ? text.files : ({} as Partial<TokenizerFiles>);
  const files = {
    [configName]: config,
    'tokenizer.json': tokenizerJson,
    'tokenizer_config.json': tokenizerConfig,
    'generation_config.json': generationConfig,
  };
  for (const [name, said] of Object.entries(files))
    if (said !== undefined) await writeFile(to.pathOf(name), JSON.stringify(said));
}

async function copyBesides(from: string, to: OutputFolder): Promise<void> {
  for (const entry of await readdir(from)) {
    const path = join(from, entry);
    const found = await stat(path);
    const isWeights = entry.endsWith('.index.json');
    if (
      found.isFile() &&
      found.size <= mostBytesBesides &&
      besides.has(extname(entry)) &&
      !isWeights
    )
      await copyFile(path, to.pathOf(entry), constants.COPYFILE_FICLONE);
    else if (found.isDirectory() && entry === templatesFolder)
      await cp(path, to.pathOf(entry), { recursive: true });
  }
}
