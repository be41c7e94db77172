/// <reference lib="esnext.disposable" preserve="true" />
import { describe, expectInside, inside, unexpected } from '../base/checks.js';
import { CheckpointError, ClosedError, ConfigError, fromNative } from '../base/errors.js';
import { expectOptions, given, type Rows } from '../base/rows.js';
import { addon } from '../binding/addon.js';
import type { NativeFile } from '../binding/views.js';
import type { MoEConfig, MoEConfigOptions } from '../config/config.js';
import { huggingFaceLayers, huggingFaceRows, placeRows } from '../config/hugging_face.js';
import type { Activation, ExpertOptions } from '../layer/experts.js';
import { MoELayer } from '../layer/layer.js';
import { heldRows, type LoadOptions, loadRows, type WeightType } from '../layer/options.js';
import { heldExperts } from '../layer/parallel.js';
import type { LayerParts } from '../layer/parts.js';
import { storedType } from '../layer/weights.js';
import { identityAt } from './containers/disk.js';
import type { TensorEntry } from './containers/header.js';
import type { TensorFile } from './containers/tensor_file.js';
import { TensorFiles } from './containers/tensor_files.js';
import {
  asPacked,
  type Description,
  describeModel,
  describePacked,
  expectAsPacked,
  layoutName,
  packedDevice,
  type StoredLayer,
  withChanges,
} from './description.js';
import {
  type FoundLayer,
  type FoundLayers,
  findLayers,
  findPacked,
} from './families/find_layers.js';
import { standsBeside } from './families/fit.js';
import { LayerTensors } from './families/layer_tensors.js';
import { packedViews } from './families/packed.js';
import { readLayer } from './families/read_layer.js';
import { inLayer } from './in_layer.js';
import { allFiles, inConfig, isMindFormers, ModelClaims } from './model_claims.js';
import { readPackedMetadata } from './packed/format.js';
import { entriesOf, storedTensors } from './stored.js';
import { inWords, type LayerWords } from './words.js';

/** How a checkpoint is opened. */
export interface OpenOptions {
  /** Which stack of layers, where there are several: `'thinker'`, `'decoder'`, or what their tensors' names begin with. */
  stack?: string | undefined;
}

const openRows: Rows<OpenOptions> = { stack: placeRows.stack };

/**
 * A checkpoint with MoE layers: a folder or a `.safetensors` file, one file or several with an index. Opening reads
 * headers only; loading a layer maps its files and reads that layer.
 *
 * ```ts
 * const checkpoint = await MoECheckpoint.open('checkpoints/mixtral-8x7b');
 * const layer = await checkpoint.load(checkpoint.layers[0]);
 * await checkpoint.close(); // the layer stays usable
 * ```
 */
export class MoECheckpoint implements AsyncDisposable {
  /** As it was opened. */
  readonly path: string;
  /** `model_type` of `config.json`; the family of tensor names where there is no `config.json`. */
  readonly modelType: string;
  /** How the layers route. Without a `config.json` only what the tensors' shapes tell: the rest goes into `load`. */
  readonly config: MoEConfig;
  /** H. */
  readonly hiddenSize: number;
  /** I, the width of each expert. */
  readonly intermediateSize: number;
  /** What an expert computes. */
  readonly activation: Activation;
  /** The type that the experts are stored in, as the first layer tells. */
  readonly weightType: WeightType;
  /** Numbers of the MoE layers, ascending. */
  readonly layers: readonly number[];
  /** Which stack of layers, where there are several. */
  readonly stack: string | undefined;
  /** Router, experts and shared expert of the first layer, for people. */
  readonly description: LayerWords;
  readonly #files: TensorFiles;
  readonly #found: Found;
  readonly #describe: (layer: number) => Description;
  /** Undefined for packed layers. */
  readonly #claims: ModelClaims | undefined;
  readonly #mapped = new Map<string, NativeFile>();
  #closed = false;

  private constructor(
    key: symbol,
    path: string,
    files: TensorFiles,
    found: Found,
    describe: (layer: number) => Description,
    claims?: ModelClaims,
  ) {
    expectInside(key, 'a checkpoint', 'MoECheckpoint.open');
    this.layers = Object.freeze([...found.layers.keys()]);
    const description = describe(this.layers[0] as number);
    this.path = path;
    this.modelType = description.modelType;
    this.config = description.config;
    this.hiddenSize = description.hiddenSize;
    this.intermediateSize = description.intermediateSize;
    this.activation = description.experts.activation;
    this.weightType = description.weightType;
    this.stack = found.stack;
    this.description = inWords(description, found.layout, found.row?.around);
    this.#files = files;
    this.#found = found;
    this.#describe = describe;
    this.#claims = claims;
  }

  /**
   * @param path a folder with safetensors and `config.json`, one of its files that list tensors, or a GGUF file
   * @throws `CheckpointError` naming file and tensor, `ConfigError` for a `config.json` that does not describe the model
   */
  static async open(path: string, options: OpenOptions = {}): Promise<MoECheckpoint> {
    expectOptions('MoECheckpoint.open', options, openRows);
    if (typeof path !== 'string' || path === '') throw unexpected('path', 'a path', path);
    return MoECheckpoint.of(await TensorFiles.open(path), path, options.stack);
  }

  /** @internal What `open` gives, of files that are open. */
  static async of(files: TensorFiles, path: string, stack?: string): Promise<MoECheckpoint> {
    const packed = readPackedMetadata(files.paths[0] as string, files.metadata);
    if (packed !== undefined) {
      const layers = findPacked(path, files.names);
      const description = describePacked(packed);
      return new MoECheckpoint(inside, path, files, { layers }, () => description);
    }
    const claims = await ModelClaims.read(files.folder, files.gguf?.config);
    const found = claims.find(() => findClaimed(path, files.names, claims, stack));
    const first = await readable(path, files, found);
    claims.expectReadable(entriesOf(first.stored));
    const describe = describeModel(claims, found, first);
    return new MoECheckpoint(inside, path, files, found, describe, claims);
  }

  /**
   * Loads one MoE layer.
   *
   * @param layer its number; may be left out where the checkpoint has one MoE layer
   * @throws `ConfigError` for a number that is no MoE layer's or a config that does not fit, `CheckpointError` for tensors
   *   that are missing or of a wrong shape or type, `ClosedError` after `close`
   */
  async load(layer?: number, options: LoadOptions = {}): Promise<MoELayer> {
    expectOptions('load', options, loadRows);
    if (layer !== undefined && options.layer !== undefined && layer !== options.layer)
      throw new ConfigError(
        `Expected \`layer\` to be given once, got ${describe(layer)} and ${describe(options.layer)}`,
      );
    const number = this.#numberOf(layer ?? options.layer);
    options.signal?.throwIfAborted();
    const parts = await this.parts(number, options);
    return inLayer(this.path, number, () => MoELayer.fromParts(parts));
  }

  /**
   * @internal What a layer is made of.
   *
   * @param reads false where weights are looked at only
   */
  async parts(number: number, options: LoadOptions, reads = true): Promise<LayerParts> {
    const { config: changes, onProgress, signal, stack = this.stack } = options;
    if (stack !== this.stack)
      throw new ConfigError(
        `Expected \`stack\` to be left out or ${describe(this.stack)}, as the checkpoint was opened, got ${describe(stack)}`,
      );
    const description = this.#describe(number);
    const { hiddenSize, intermediateSize, sharedSize, described, packed } = description;
    if (packed !== undefined) expectAsPacked(this.path, packed, options);
    const config = this.configWith(changes, number);
    if (!described && changes?.numExpertsChosen === undefined)
      throw new ConfigError(
        `Expected \`config.numExpertsChosen\`: ${this.path} has no config.json that says how many experts a token takes`,
      );

    const { prefix, names } = this.#found.layers.get(number) as FoundLayer;
    const { layout } = this.#found;
    const own = names.filter(
      (name) => layout === undefined || !standsBeside(layout, name, config.expertNum),
    );
    const stored = await storedTensors(this.#files, { prefix, names: own });
    this.#claims?.expectReadable(entriesOf(stored));
    this.#expectOpen();
    const held = options.group && heldExperts(config, options);
    const tensors = new LayerTensors(
      prefix,
      stored,
      reads ? (file) => this.map(file) : undefined,
      // Experts of a second stack in one layer are numbered from E on.
      held && new Set(held.flatMap((expert) => [expert, expert + config.expertNum])),
      this.#claims?.quantisation,
    );
    const { views, factor } =
      layout === undefined
        ? { views: packedViews(tensors, packed?.layout ?? ''), factor: 1 }
        : readLayer(tensors, layout, description, config, description.needs);
    const notes = tensors.expectAllRead();
    return {
      config: factor === 1 ? config : scaled(config, factor),
      hiddenSize,
      intermediateSize,
      sharedSize,
      ...description.experts,
      views,
      notes,
      weightType: storedType(views, options.device),
      ...given(heldRows, options),
      ...(packed && { ...asPacked(packed), device: packedDevice }),
      onProgress,
      signal,
    };
  }

  /** @internal What its experts compute, and on rows of which width. */
  get experts(): ExpertOptions & { activation: Activation } {
    return this.#describe(this.layers[0] as number).experts;
  }

  /** @internal Where its tensors are. */
  get tensors(): TensorFiles {
    return this.#files;
  }

  /** @internal What the files beside its tensors say; undefined for packed layers. */
  get claims(): ModelClaims | undefined {
    return this.#claims;
  }

  /** @internal Every file that it is read from. */
  get files(): string[] {
    return allFiles(this.#files);
  }

  /** @internal Throws `ConfigError` unless the number is an MoE layer's. */
  expectLayer(layer: number): void {
    this.#numberOf(layer);
  }

  /** @internal Throws `ConfigError` unless the layers are of one kind, as what describes all of them has to say. */
  expectAlike(layers: readonly number[]): void {
    const kindOf = (layer: number) => {
      const { config, experts, needs } = this.#describe(layer);
      return JSON.stringify([config, experts, needs]);
    };
    const [first, ...others] = layers;
    const other = others.find((layer) => kindOf(layer) !== kindOf(first as number));
    if (other !== undefined)
      throw new ConfigError(
        `Expected layers of one kind, got layers ${first} and ${other}, whose options differ: take them one at a time`,
      );
  }

  /** @internal How layers route with these changes. Throws `ConfigError` where they do not fit. */
  configWith(
    changes: Partial<MoEConfigOptions> = {},
    layer: number = this.layers[0] as number,
  ): MoEConfig {
    const description = this.#describe(layer);
    const config = withChanges(description.config, changes);
    expectSizes(config, description);
    return config;
  }

  /** @internal How the tensors are named. */
  get family(): string {
    const { layout } = this.#found;
    return layout === undefined ? 'packed by node-moe' : layoutName({ layout });
  }

  /** @internal What the headers say of an MoE layer's tensors. */
  async tensorsOf(layer: number): Promise<TensorEntry[]> {
    const found = this.#found.layers.get(this.#numberOf(layer)) as FoundLayer;
    const stored = await storedTensors(this.#files, found);
    return entriesOf(stored);
  }

  /** @internal The file in memory, until the checkpoint is closed. */
  map(stored: TensorFile): NativeFile {
    this.#expectOpen();
    const known = this.#mapped.get(stored.path);
    if (known !== undefined) return known;
    try {
      const file = addon().mapFile(stored.path);
      stored.expectSame(identityAt(stored.path)); // once it is mapped: what replaces it then is not read
      this.#mapped.set(stored.path, file);
      return file;
    } catch (error) {
      throw fromNative(error);
    }
  }

  /** @internal Lets go of the files that weights were read from, but of one. */
  unmap(kept?: string): void {
    for (const [path, file] of this.#mapped) {
      if (path === kept) continue;
      file.close();
      this.#mapped.delete(path);
    }
  }

  /** Unmaps the files. Layers that were loaded stay usable. */
  async close(): Promise<void> {
    this.#closed = true;
    this.unmap();
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #numberOf(layer: number | undefined): number {
    const [first] = this.layers;
    if (layer === undefined && this.layers.length === 1 && first !== undefined) return first;
    if (layer !== undefined && this.layers.includes(layer)) return layer;
    throw new ConfigError(
      `Expected \`layer\` to be one of the MoE layers ${this.layers.join(', ')}, got ${describe(layer)}`,
    );
  }

  #expectOpen(): void {
    if (this.#closed) throw new ClosedError(`The checkpoint ${this.path} is closed`);
  }
}

/** A config may change how a layer routes, not what its weights are. */
function expectSizes(
  config: MoEConfig,
  { expertNum, intermediateSize, sharedSize }: Description,
): void {
  if (config.expertNum !== expertNum)
    throw new ConfigError(
      `Expected \`config.expertNum\` to be the checkpoint's ${expertNum}, got ${describe(config.expertNum)}`,
    );
  if (Math.round(config.sharedExpertNum * intermediateSize) !== sharedSize)
    throw new ConfigError(
      `Expected \`config.sharedExpertNum\` to be the checkpoint's ${sharedSize / intermediateSize}, got ` +
        describe(config.sharedExpertNum),
    );
}

/** MoE layers; without a layout, they are packed. */
type Found = Pick<FoundLayers, 'layers'> & Partial<FoundLayers>;

/** The layers that the config speaks of; any where there is none of a model. */
function findClaimed(
  path: string,
  names: Iterable<string>,
  { config, configPath }: ModelClaims,
  stack: string | undefined,
): FoundLayers {
  if (config === undefined || isMindFormers(config)) return findLayers(path, names, { stack });
  return inConfig(configPath, () =>
    findLayers(path, names, {
      rows: huggingFaceRows(config),
      modelType: (config as { model_type?: unknown }).model_type,
      stack,
      layersOf: (name) => huggingFaceLayers(config, { stack: name }),
    }),
  );
}

const scaled = (config: MoEConfig, factor: number): MoEConfig =>
  config.with({ routedScalingFactor: config.routedScalingFactor * factor });

/** The first layer whose files are there: one layer's shards are enough to open a checkpoint. */
async function readable(path: string, files: TensorFiles, found: Found): Promise<StoredLayer> {
  let first: FoundLayer | undefined;
  for (const layer of found.layers.values()) {
    first ??= layer;
    if (await files.present(layer.names.map((name) => layer.prefix + name))) {
      first = layer;
      break;
    }
  }
  if (first === undefined)
    throw new CheckpointError(`Expected ${path} to hold an MoE layer, got none`);
  return { prefix: first.prefix, stored: await storedTensors(files, first) };
}
