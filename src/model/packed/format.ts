// Whole models that a device packed before: what their one file says.
import { createHash } from 'node:crypto';
import { expectObject, expectOneOf, unexpected } from '../../base/checks.js';
import { CheckpointError } from '../../base/errors.js';
import { type BlockType, blockTypes, isBlockType } from '../../binding/block_types.js';
import type { NativeProjection } from '../../binding/model.js';
import { weightTypes } from '../../binding/weight_formats.js';
import { packedTensor } from '../../checkpoint/families/packed.js';
import { activationTypes } from '../../layer/options.js';
import { outerTensors } from '../families/tensors.js';

/**
 * A packed model is a folder: what tells of the model and its text, as the checkpoint has it, and one file of packed
 * layers (src/checkpoint/packed/format.ts) that holds the rest, too. Behind `model` of its metadata stands what
 * `PackedModelDescription` has. `decoder.{n}.{part}` are the parts of a layer besides its experts, `decoder.{part}` those
 * behind the layers; the embedding and nothing else stands as the checkpoint has it, in blocks as the bytes of its rows,
 * quantised otherwise as the tensors that config.json describes, `decoder.embedding.{ending}`.
 */
export const modelKey = 'model';

export const embeddingName = 'decoder.embedding';
const embeddingModule = outerTensors.embedding.replace(/weight$/, '');
/** Whether a checkpoint's tensor of this name is one of the embedding's. */
export const isOfEmbedding = (name: string): boolean => name.startsWith(embeddingModule);

/** The name that a tensor of the checkpoint's embedding has in a packed model. */
export const packedEmbedding = (own: string): string =>
  own === outerTensors.embedding
    ? embeddingName
    : `${embeddingName}.${own.slice(embeddingModule.length)}`;

/** Its inverse; undefined for other tensors. */
export function ownEmbedding(name: string): string | undefined {
  if (name === embeddingName) return outerTensors.embedding;
  const prefix = `${embeddingName}.`;
  return name.startsWith(prefix) ? embeddingModule + name.slice(prefix.length) : undefined;
}

/** What parts of what follows attention begin with. */
export const feedForward = 'feed_forward.';

/** What the metadata of a packed model says besides what it says of packed layers. */
export interface PackedModelDescription {
  /** How attention and dense layers are held, and the output head. */
  projections: NativeProjection;
  head: NativeProjection;
  /** Layouts of the parts of layers, and behind them. */
  layout: string;
  headLayout: string;
  /** What the embedding's bytes are where it is in blocks. */
  embedding?: BlockType;
  /** Of names, types and sizes of all tensors: what is missing is found before anything is computed. */
  tensors: string;
  /** Of config.json: what it says is packed, too. */
  config: string;
}

/** The tensor that holds a part of a layer. Experts stand where those of packed layers do. */
export function tensorOf(layer: number | undefined, part: string, hasExperts: boolean): string {
  if (layer === undefined) return `decoder.${part}`;
  return hasExperts && part.startsWith(feedForward)
    ? packedTensor(layer, part.slice(feedForward.length))
    : layerRoot(layer) + part;
}

/** What the names of a layer's parts begin with, besides its experts. */
export const layerRoot = (layer: number): string => `decoder.${layer}.`;

/** What a digest of tensors is made of. */
export interface DigestedTensor {
  readonly name: string;
  readonly dtype: string;
  readonly byteLength: number;
}

export function digestOfTensors(tensors: Iterable<DigestedTensor>): string {
  const lines = [...tensors].map(
    ({ name, dtype, byteLength }) => `${name} ${dtype} ${byteLength}\n`,
  );
  return digestOf(lines.sort().join(''));
}

export const digestOf = (text: string | Uint8Array): string =>
  createHash('sha256').update(text).digest('hex');

/**
 * Reads what the metadata says of a whole model, undefined where it speaks of layers only.
 *
 * @throws `CheckpointError` for damaged metadata
 */
export function readPackedModel(
  path: string,
  metadata: ReadonlyMap<string, string>,
): PackedModelDescription | undefined {
  const text = metadata.get(modelKey);
  if (text === undefined) return undefined;
  try {
    const model: unknown = JSON.parse(text);
    expectObject('model', model);
    const word = (name: string): string => {
      if (typeof model[name] !== 'string') throw unexpected(name, 'text', model[name]);
      return model[name];
    };
    return {
      projections: readProjection('projections', model['projections']),
      head: readProjection('head', model['head']),
      ...{ layout: word('layout'), headLayout: word('headLayout') },
      ...{ tensors: word('tensors'), config: word('config') },
      ...readEmbedding(model['embedding']),
    };
  } catch (cause) {
    throw new CheckpointError(
      `Expected the metadata of ${path} to describe a packed model, got: ${(cause as Error).message}`,
      { cause },
    );
  }
}

function readEmbedding(type: unknown): Pick<PackedModelDescription, 'embedding'> {
  if (type === undefined) return {};
  if (typeof type === 'string' && isBlockType(type)) return { embedding: type };
  throw unexpected('embedding', `one of ${Object.keys(blockTypes).join(', ')}`, type);
}

function readProjection(name: string, value: unknown): NativeProjection {
  expectObject(name, value);
  const { weightType, weightGroup, activationType } = value;
  expectOneOf(`${name}.weightType`, weightType, weightTypes);
  expectOneOf(`${name}.activationType`, activationType, activationTypes);
  if (!Number.isInteger(weightGroup) || (weightGroup as number) < 0)
    throw unexpected(`${name}.weightGroup`, 'an integer of at least 0', weightGroup);
  return { weightType, weightGroup: weightGroup as number, activationType };
}
