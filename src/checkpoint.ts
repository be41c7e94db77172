/// <reference lib="esnext.disposable" preserve="true" />
import { join } from 'node:path';
import { addon } from './addon.js';
import { describe, expectOptions, expectSignal, unexpected } from './checks.js';
import { huggingFaceSizes } from './config/hugging_face.js';
import { MoEConfig, type MoEConfigOptions } from './config.js';
import { CheckpointError, ClosedError, ConfigError, fromNative, ShapeError } from './errors.js';
import type { Family, LayerSizes } from './families/family.js';
import { type FoundLayer, type FoundLayers, findLayers } from './families/find_layers.js';
import { LayerTensors, type StoredTensor } from './families/layer_tensors.js';
import type { Activation, LayerParts, WeightType } from './layer/options.js';
import { heldExperts } from './layer/parallel.js';
import { type LoadOptions, MoELayer } from './layer.js';
import type { NativeFile } from './native.js';
import { type PackedDescription, readPackedMetadata } from './packed/format.js';
import { identityAt, kindOf, readText } from './safetensors/disk.js';
import type { SafetensorsFile } from './safetensors/file.js';
import type { TensorEntry } from './safetensors/header.js';
import { TensorFiles } from './safetensors/tensor_files.js';
import { storedType } from './weights.js';

const configName = 'config.json';
const maxConfigBytes = 16 << 20;

/** The only device that takes weights packed before. */
const packedDevice = 'cpu';

const loadOptionNames: readonly (keyof LoadOptions)[] = [
  'layer',
  'device',
  'weightType',
  'weightGroup',
  'activationType',
  'threads',
  'maxQueue',
  'group',
  'unevenExperts',
  'placement',
  'config',
  'onProgress',
  'signal',
];

/** How packed layers are held. */
type PackedAs = Pick<PackedDescription, 'layout' | 'weightType' | 'weightGroup' | 'activationType'>;

/** What a checkpoint says of all its MoE layers. */
interface Description extends LayerSizes {
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
 * await using checkpoint = await MoECheckpoint.open('checkpoints/mixtral-8x7b');
 * const layer = await checkpoint.load(checkpoint.layers[0]);
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
  readonly #mapped = new Map<string, NativeFile>();
  #closed = false;

  private constructor(
    path: string,
    files: TensorFiles,
    found: FoundLayers,
    description: Description,
  ) {
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
  }

  /**
   * @param path a folder with `model.safetensors` or `model.safetensors.index.json`, or one of those files; `config.json`
   *   is looked for beside them
   * @throws `CheckpointError` naming file and tensor, `ConfigError` for a `config.json` that does not describe the model
   */
  static async open(path: string): Promise<MoECheckpoint> {
    if (typeof path !== 'string' || path === '') throw unexpected('path', 'a path', path);
    const files = await TensorFiles.open(path);
    const found = findLayers(path, files.names);
    const tensors = await readable(path, files, found);
    return new MoECheckpoint(path, files, found, await describeModel(files, found, tensors));
  }

  /**
   * Loads one MoE layer.
   *
   * @param layer its number; may be left out where the checkpoint has one MoE layer
   * @throws `ConfigError` for a number that is no MoE layer's or a config that does not fit, `CheckpointError` for tensors
   *   that are missing or of a wrong shape or type, `ClosedError` after `close`
   */
  async load(layer?: number, options: LoadOptions = {}): Promise<MoELayer> {
    expectOptions('load', options, loadOptionNames);
    expectSignal(options.signal);
    if (layer !== undefined && options.layer !== undefined && layer !== options.layer)
      throw new ConfigError(
        `Expected \`layer\` to be given once, got ${describe(layer)} and ${describe(options.layer)}`,
      );
    const number = this.#numberOf(layer ?? options.layer);
    options.signal?.throwIfAborted();
    const {
      config: changes,
      layer: _,
      weightType,
      weightGroup,
      activationType,
      device,
      ...passedOn
    } = options;
    const { packed } = this.#description;
    if (packed !== undefined) expectAsPacked(this.path, packed, options);
    const config = this.configWith(changes);
    const { hiddenSize, intermediateSize, sharedSize, activation, described } = this.#description;
    if (!described && changes?.numExpertsChosen === undefined)
      throw new ConfigError(
        `Expected \`config.numExpertsChosen\`: ${this.path} has no config.json that says how many experts a token takes`,
      );

    const found = this.#found.layers.get(number) as FoundLayer;
    const stored = await storedTensors(this.#files, found);
    this.#expectOpen();
    const held = options.group && new Set(heldExperts(config, options));
    const tensors = new LayerTensors(found.prefix, stored, (file) => this.#map(file), held);
    const views = this.#found.family.views(tensors, this.#description, config);
    tensors.expectAllRead();
    if (packed !== undefined && views.packed !== undefined) views.packed.layout = packed.layout;
    const parts: LayerParts = {
      config,
      hiddenSize,
      intermediateSize,
      sharedSize,
      activation,
      views,
      weightType: packed?.weightType ?? weightType ?? storedType(views),
      weightGroup: packed?.weightGroup ?? weightGroup,
      activationType: packed?.activationType ?? activationType,
      device: packed === undefined ? device : packedDevice,
    };
    try {
      return await MoELayer.fromParts({ ...parts, ...passedOn });
    } catch (error) {
      if (!(error instanceof ShapeError)) throw error;
      throw new CheckpointError(`Layer ${number} of ${this.path}: ${error.message}`, {
        cause: error,
      });
    }
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
    return [...stored.values()].map(({ entry }) => entry);
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

  #expectOpen(): void {
    if (this.#closed) throw new ClosedError(`The checkpoint ${this.path} is closed`);
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

/** The tensors of the first layer whose files are there: one layer's shards are enough to open a checkpoint. */
async function readable(
  path: string,
  files: TensorFiles,
  found: FoundLayers,
): Promise<LayerTensors> {
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
  const unmapped = (): never => {
    throw new CheckpointError('A checkpoint is described without reading its weights');
  };
  return new LayerTensors(first.prefix, await storedTensors(files, first), unmapped);
}

async function describeModel(
  files: TensorFiles,
  { family }: FoundLayers,
  tensors: LayerTensors,
): Promise<Description> {
  const described = readPackedMetadata(files.paths[0] as string, files.metadata);
  if (described !== undefined) {
    const { layout, weightType, weightGroup, activationType } = described;
    const packed = { layout, weightType, weightGroup, activationType };
    return { ...described, described: true, packed };
  }
  const measured = family.measure(tensors);
  const path = join(files.folder, configName);
  if ((await kindOf(path)) === 'missing') {
    const { expertNum, intermediateSize, sharedSize } = measured;
    const config = new MoEConfig({ expertNum, sharedExpertNum: sharedSize / intermediateSize });
    return { ...measured, modelType: family.name, config, described: false };
  }
  const parsed = parseConfig(path, await readText(path, maxConfigBytes));
  try {
    return { ...measured, ...describedBy(parsed, family), described: true };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`${path}: ${error.message}`, { cause: error });
  }
}

/** Throws `ConfigError` where options ask for other weights than the packed ones. */
function expectAsPacked(path: string, packed: PackedAs, options: LoadOptions): void {
  const { device = 'auto' } = options;
  for (const [name, given, was] of [
    ['weightType', options.weightType, packed.weightType],
    ['weightGroup', options.weightGroup, packed.weightGroup],
    ['activationType', options.activationType, packed.activationType],
    ['device', device === 'auto' ? undefined : device, packedDevice],
  ] as const)
    if (given !== undefined && given !== was)
      throw new ConfigError(
        `Expected \`${name}\` to be left out or ${describe(was)}, as ${path} was packed, got ${describe(given)}`,
      );
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

/** A MindFormers config says nothing of sizes: those are the tensors'. */
function isMindFormers(config: object): boolean {
  return 'moe_config' in config || !('model_type' in config);
}

function parseConfig(path: string, text: string): object {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(`Expected ${path} to be JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new CheckpointError(`Expected ${path} to hold an object, got ${describe(parsed)}`);
  return parsed;
}
