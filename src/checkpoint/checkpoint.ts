/// <reference lib="esnext.disposable" preserve="true" />
import { join } from 'node:path';
import { describe, expectInside, inside, unexpected } from '../base/checks.js';
import {
  CheckpointError,
  ClosedError,
  ConfigError,
  fromNative,
  ShapeError,
} from '../base/errors.js';
import { expectOptions, given } from '../base/rows.js';
import { addon } from '../binding/addon.js';
import type { NativeFile } from '../binding/views.js';
import { MoEConfig, type MoEConfigOptions } from '../config/config.js';
import { huggingFaceSizes } from '../config/hugging_face.js';
import { type Activation, type ExpertOptions, expertRows } from '../layer/experts.js';
import { MoELayer } from '../layer/layer.js';
import { heldRows, type LoadOptions, loadRows, type WeightType } from '../layer/options.js';
import { heldExperts } from '../layer/parallel.js';
import type { LayerParts } from '../layer/parts.js';
import { storedType } from '../layer/weights.js';
import { identityAt } from './containers/disk.js';
import type { SafetensorsFile } from './containers/file.js';
import type { TensorEntry } from './containers/header.js';
import { TensorFiles } from './containers/tensor_files.js';
import type { Family, LayerSizes } from './families/family.js';
import { type FoundLayer, type FoundLayers, findLayers } from './families/find_layers.js';
import { LayerTensors, type StoredTensor } from './families/layer_tensors.js';
import { configName, inConfig, isMindFormers, ModelClaims } from './model_claims.js';
import { type PackedDescription, readPackedMetadata } from './packed/format.js';

/** The only device that takes weights packed before. */
const packedDevice = 'cpu';

/** How packed layers are held. */
type PackedAs = Pick<PackedDescription, 'layout' | 'weightType' | 'weightGroup' | 'activationType'>;

/** What a checkpoint says of all its MoE layers. */
interface Description extends LayerSizes, ExpertOptions {
  modelType: string;
  config: MoEConfig;
  activation: Activation;
  weightType: WeightType;
  /** Whether `config` is the model's own, or only what the tensors' shapes tell. */
  described: boolean;
  /** Present where the layers are packed. */
  packed?: PackedAs;
}

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

  readonly #files: TensorFiles;
  readonly #found: FoundLayers;
  readonly #description: Description;
  /** Undefined for packed layers. */
  readonly #claims: ModelClaims | undefined;
  readonly #mapped = new Map<string, NativeFile>();
  #closed = false;

  private constructor(
    key: symbol,
    path: string,
    files: TensorFiles,
    found: FoundLayers,
    description: Description,
    claims?: ModelClaims,
  ) {
    expectInside(key, 'a checkpoint', 'MoECheckpoint.open');
    this.path = path;
    this.modelType = description.modelType;
    this.config = description.config;
    this.hiddenSize = description.hiddenSize;
    this.intermediateSize = description.intermediateSize;
    this.activation = description.activation;
    this.weightType = description.weightType;
    this.layers = Object.freeze([...found.layers.keys()]);
    this.#files = files;
    this.#found = found;
    this.#description = description;
    this.#claims = claims;
  }

  /**
   * @param path a folder with `model.safetensors` or `model.safetensors.index.json`, or one of those files; `config.json`
   *   is looked for beside them
   * @throws `CheckpointError` naming file and tensor, `ConfigError` for a `config.json` that does not describe the model
   */
  static async open(path: string): Promise<MoECheckpoint> {
    if (typeof path !== 'string' || path === '') throw unexpected('path', 'a path', path);
    const files = await TensorFiles.open(path);
    const packed = readPackedMetadata(files.paths[0] as string, files.metadata);
    if (packed !== undefined) {
      const found = findLayers(path, files.names);
      return new MoECheckpoint(inside, path, files, found, describePacked(packed));
    }
    const claims = await ModelClaims.read(files.folder);
    const found = claims.find(() => findLayers(path, files.names));
    const first = await readable(path, files, found);
    claims.expectReadable(entriesOf(first.stored));
    const description = describeModel(claims, found, first);
    return new MoECheckpoint(inside, path, files, found, description, claims);
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
    const { config: changes, onProgress, signal } = options;
    const { packed } = this.#description;
    if (packed !== undefined) expectAsPacked(this.path, packed, options);
    const config = this.configWith(changes);
    const { hiddenSize, intermediateSize, sharedSize, described } = this.#description;
    if (!described && changes?.numExpertsChosen === undefined)
      throw new ConfigError(
        `Expected \`config.numExpertsChosen\`: ${this.path} has no config.json that says how many experts a token takes`,
      );

    const found = this.#found.layers.get(number) as FoundLayer;
    const stored = await storedTensors(this.#files, found);
    this.#claims?.expectReadable(entriesOf(stored));
    if (this.#closed) throw new ClosedError(`The checkpoint ${this.path} is closed`);
    const held = options.group && new Set(heldExperts(config, options));
    const tensors = new LayerTensors(found.prefix, stored, (file) => this.#map(file), held);
    const views = this.#found.family.views(tensors, this.#description, config);
    const notes = tensors.expectAllRead();
    if (packed !== undefined && views.packed !== undefined) views.packed.layout = packed.layout;
    const parts: LayerParts = {
      config,
      hiddenSize,
      intermediateSize,
      sharedSize,
      ...this.experts,
      views,
      notes,
      weightType: storedType(views),
      ...given(heldRows, options),
      ...(packed && { ...asPacked(packed), device: packedDevice }),
      onProgress,
      signal,
    };
    try {
      return await MoELayer.fromParts(parts);
    } catch (error) {
      if (!(error instanceof ShapeError)) throw error;
      throw new CheckpointError(`Layer ${number} of ${this.path}: ${error.message}`, {
        cause: error,
      });
    }
  }

  /** @internal What its experts compute, and on rows of which width. */
  get experts(): ExpertOptions & { activation: Activation } {
    return { activation: this.activation, ...given(expertRows, this.#description) };
  }

  /** @internal Every file that it is read from. */
  get files(): string[] {
    return [...this.#files.paths, join(this.#files.folder, configName)];
  }

  /** @internal Throws `ConfigError` unless the number is an MoE layer's. */
  expectLayer(layer: number): void {
    this.#numberOf(layer);
  }

  /** @internal How layers route with these changes. Throws `ConfigError` where they do not fit. */
  configWith(changes: Partial<MoEConfigOptions> = {}): MoEConfig {
    const config = withChanges(this.config, changes);
    this.#expectSizes(config);
    return config;
  }

  /** @internal How the tensors are named. */
  get family(): string {
    return this.#found.family.name;
  }

  /** @internal What the headers say of an MoE layer's tensors. */
  async tensorsOf(layer: number): Promise<TensorEntry[]> {
    const found = this.#found.layers.get(this.#numberOf(layer)) as FoundLayer;
    const stored = await storedTensors(this.#files, found);
    return entriesOf(stored);
  }

  /** Unmaps the files. Layers that were loaded stay usable. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const file of this.#mapped.values()) file.close();
    this.#mapped.clear();
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

  /** A config may change how a layer routes, not what its weights are. */
  #expectSizes(config: MoEConfig): void {
    const { expertNum, intermediateSize, sharedSize } = this.#description;
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

  #map(stored: SafetensorsFile): NativeFile {
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
}

/** The tensors of a layer by their names inside it. Opens the files they are in. */
async function storedTensors(
  files: TensorFiles,
  { prefix, names }: FoundLayer,
): Promise<Map<string, StoredTensor>> {
  const stored = new Map<string, StoredTensor>();
  for (const name of names) {
    const file = await files.fileOf(prefix + name);
    stored.set(name, { file, entry: file.entry(prefix + name) });
  }
  return stored;
}

const entriesOf = (stored: ReadonlyMap<string, StoredTensor>): TensorEntry[] =>
  [...stored.values()].map(({ entry }) => entry);

interface ReadableLayer {
  prefix: string;
  stored: Map<string, StoredTensor>;
}

/** The first layer whose files are there: one layer's shards are enough to open a checkpoint. */
async function readable(
  path: string,
  files: TensorFiles,
  found: FoundLayers,
): Promise<ReadableLayer> {
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

function describePacked(packed: PackedDescription): Description {
  const { layout, weightType, weightGroup, activationType } = packed;
  const as = { layout, weightType, weightGroup, activationType };
  return { ...packed, described: true, packed: as };
}

function describeModel(
  { config: claimed, configPath }: ModelClaims,
  { family }: FoundLayers,
  { prefix, stored }: ReadableLayer,
): Description {
  const unmapped = (): never => {
    throw new CheckpointError('A checkpoint is described without reading its weights');
  };
  const measured = family.measure(new LayerTensors(prefix, stored, unmapped));
  if (claimed === undefined) {
    const { expertNum, intermediateSize, sharedSize } = measured;
    const config = new MoEConfig({ expertNum, sharedExpertNum: sharedSize / intermediateSize });
    return { ...measured, modelType: family.name, config, described: false };
  }
  const described = inConfig(configPath, () => describedBy(claimed, family));
  return { ...measured, ...described, described: true };
}

const asPacked = ({ layout, ...held }: PackedAs): Omit<PackedAs, 'layout'> => held;

/** Throws `ConfigError` where options ask for other weights than the packed ones. */
function expectAsPacked(path: string, packed: PackedAs, options: LoadOptions): void {
  const asked: Record<string, unknown> = given(heldRows, options);
  for (const [name, was] of Object.entries({ ...asPacked(packed), device: packedDevice })) {
    const value = asked[name];
    if (value !== undefined && value !== was && !(name === 'device' && value === 'auto'))
      throw new ConfigError(
        `Expected \`${name}\` to be left out or ${describe(was)}, as ${path} was packed, got ${describe(value)}`,
      );
  }
}

/** What a `config.json` says beyond, or instead of, the tensors. */
function describedBy(
  parsed: object,
  { name, modelTypes }: Family,
): Pick<Description, 'modelType' | 'config'> & Partial<Description> {
  if (isMindFormers(parsed)) return { modelType: name, config: MoEConfig.parse(parsed) };
  const { modelType, hiddenSize, intermediateSize, sharedSize, activation } =
    huggingFaceSizes(parsed);
  if (modelTypes !== undefined && !modelTypes.includes(modelType))
    throw new ConfigError(
      `Expected \`model_type\` to be one whose experts are stored as those of ${name} (${modelTypes.join(', ')}), ` +
        `got ${describe(modelType)}`,
    );
  const config = MoEConfig.fromHuggingFace(parsed);
  const sizes = { expertNum: config.expertNum, hiddenSize, intermediateSize, sharedSize };
  return { ...sizes, modelType, config, activation };
}

/**
 * The changed config. What a model's own code adds to `TopkRouterV2` is no choice of the user's, so it does not stand in
 * the way of `TopkRouterV1`.
 */
function withChanges(config: MoEConfig, changes: Partial<MoEConfigOptions>): MoEConfig {
  const plain = { normTopkEpsilon: undefined, excludeMaskedGroups: undefined };
  return config.with({ ...(changes.routingPolicy === 'TopkRouterV1' && plain), ...changes });
}
