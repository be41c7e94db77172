// The weights of a packed model, used where they stand.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe } from '../../base/checks.js';
import { CheckpointError, ConfigError } from '../../base/errors.js';
import { given } from '../../base/rows.js';
import { blockTypes } from '../../binding/block_types.js';
import type { MatrixView, PackedView } from '../../binding/views.js';
import type { MoECheckpoint } from '../../checkpoint/checkpoint.js';
import type { TensorEntry } from '../../checkpoint/containers/header.js';
import type { TensorFile } from '../../checkpoint/containers/tensor_file.js';
import { LayerTensors, type StoredTensor } from '../../checkpoint/families/layer_tensors.js';
import type { Quantisation } from '../../checkpoint/families/quantisation/form.js';
import { configName, ModelClaims } from '../../checkpoint/model_claims.js';
import { storedTensors } from '../../checkpoint/stored.js';
import type { ModelDescription } from '../describe.js';
import { outerTensors } from '../families/tensors.js';
import type { LayerOfModel, ModelSource, OuterOfModel, Projections } from '../model_source.js';
import { type HeldModelOptions, heldModelRows } from '../options.js';
import {
  digestOf,
  digestOfTensors,
  embeddingName,
  feedForward,
  layerRoot,
  ownEmbedding,
  type PackedModelDescription,
  readPackedModel,
} from './format.js';

/** Opens the packed model of a checkpoint; undefined where it is none. */
export async function packedSource(
  checkpoint: MoECheckpoint,
  folder: string,
  description: ModelDescription,
): Promise<PackedModelSource | undefined> {
  const { tensors } = checkpoint;
  const [path] = tensors.paths as [string];
  const packed = readPackedModel(path, tensors.metadata);
  if (packed === undefined) return undefined;
  if (packed.config !== digestOf(await readFile(join(folder, configName))))
    throw new CheckpointError(
      `Expected the config.json beside ${path} to be as it was packed, got another: pack the checkpoint again`,
    );
  const { tensors: stored } = await tensors.fileOf(embeddingName);
  if (packed.tensors !== digestOfTensors(stored.values()))
    throw new CheckpointError(
      `Expected ${path} to hold the tensors that were packed, got others: pack the checkpoint again`,
    );
  const { quantisation } = await ModelClaims.read(folder);
  return new PackedModelSource(checkpoint, description, packed, path, quantisation);
}

/** Where the parts of a packed model stand. */
export class PackedModelSource implements ModelSource {
  readonly notes: readonly string[] = [];
  readonly inPlace = true;
  readonly #path: string;
  readonly #checkpoint: MoECheckpoint;
  readonly #description: ModelDescription;
  readonly #packed: PackedModelDescription;
  readonly #quantisation: Quantisation | undefined;

  constructor(
    checkpoint: MoECheckpoint,
    description: ModelDescription,
    packed: PackedModelDescription,
    path: string,
    quantisation: Quantisation | undefined,
  ) {
    this.#checkpoint = checkpoint;
    this.#description = description;
    this.#packed = packed;
    this.#path = path;
    this.#quantisation = quantisation;
  }

  /** @throws `ConfigError` where options ask for other weights than the packed ones; experts' are asked for elsewhere */
  projections(options: HeldModelOptions): Projections {
    const { outputType } = given(heldModelRows, options);
    const { projections, head } = this.#packed;
    if (outputType !== undefined && outputType !== head.weightType)
      throw new ConfigError(
        `Expected \`outputType\` to be left out or ${describe(head.weightType)}, as ${this.#path} was packed, got ${describe(outputType)}`,
      );
    return { projections, head };
  }

  async layer(number: number, reads = true): Promise<LayerOfModel> {
    const { layout } = this.#packed;
    const { dense } = this.#description.layers[number] as ModelDescription['layers'][number];
    const parts = await this.#parts(layerRoot(number), reads);
    const views = {
      packed: { layout, parts: parts.filter(({ name }) => !name.startsWith(feedForward)) },
    };
    if (dense === undefined) return { views, notes: [] };
    const ofDense = parts.flatMap(({ name, ...part }) =>
      name.startsWith(feedForward) ? [{ ...part, name: name.slice(feedForward.length) }] : [],
    );
    return { views, dense: { experts: [], packed: { layout, parts: ofDense } }, notes: [] };
  }

  async outer(reads = true): Promise<OuterOfModel> {
    const prefix = 'decoder.';
    const names = [...this.#checkpoint.tensors.names].filter(
      (name) =>
        name.startsWith(prefix) &&
        !/^\d+\./.test(name.slice(prefix.length)) &&
        ownEmbedding(name) === undefined,
    );
    const tensors = await this.#tensors(prefix, names, reads);
    const parts = tensors.names.map((name) => ({ name, ...tensors.region(name) }));
    return {
      views: {
        embedding: await this.#embedding(reads),
        packed: { layout: this.#packed.headLayout, parts },
      },
      notes: [],
    };
  }

  /** Its tensors as those of the checkpoint, which `config.json` describes. */
  async #embedding(reads: boolean): Promise<MatrixView> {
    const { vocabularySize, hiddenSize } = this.#description.spec;
    const { tensors } = this.#checkpoint;
    const stored = new Map<string, StoredTensor>();
    for (const name of tensors.names) {
      const own = ownEmbedding(name);
      if (own === undefined) continue;
      const file = await tensors.fileOf(name);
      const entry = file.entry(name);
      stored.set(own, {
        file,
        entry: own === outerTensors.embedding ? this.#inBlocks(entry) : entry,
      });
    }
    const map = reads ? (file: TensorFile) => this.#checkpoint.map(file) : undefined;
    const own = new LayerTensors('', stored, map, undefined, this.#quantisation);
    return own.matrix(outerTensors.embedding, vocabularySize, hiddenSize);
  }

  /** What is said of bytes that are blocks. */
  #inBlocks(entry: TensorEntry): TensorEntry {
    const { embedding: dtype } = this.#packed;
    if (dtype === undefined) return entry;
    const { elements, bytes } = blockTypes[dtype];
    const [rows = 0, width = 0] = entry.shape;
    return { ...entry, dtype, shape: [rows, (width / bytes) * elements] };
  }

  async pathOfEmbedding(): Promise<string> {
    return this.#path;
  }

  async #parts(prefix: string, reads: boolean): Promise<PackedView['parts']> {
    const names = [...this.#checkpoint.tensors.names].filter((name) => name.startsWith(prefix));
    const tensors = await this.#tensors(prefix, names, reads);
    return tensors.names.map((name) => ({ name, ...tensors.region(name) }));
  }

  async #tensors(prefix: string, full: readonly string[], reads: boolean): Promise<LayerTensors> {
    const names = full.map((name) => name.slice(prefix.length));
    const stored = await storedTensors(this.#checkpoint.tensors, { prefix, names });
    return new LayerTensors(
      prefix,
      stored,
      reads ? (file) => this.#checkpoint.map(file) : undefined,
    );
  }
}
