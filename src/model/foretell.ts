import type { HeldWeights } from '../binding/devices.js';
import type { KvType } from '../binding/model.js';
import {
  activationTypes,
  rowsBeside,
  type WeightFormat,
  weightFormatNames,
  weightGroupsOf,
} from '../binding/weight_formats.js';
import { describeModel, type ModelDescription } from './describe.js';
import { MadeUpWeights } from './made_up.js';
import { kvTypes } from './options.js';
import { kvBytesPerToken, ModelSize } from './size.js';

/** What a model takes of memory. */
export interface Foretold {
  readonly parameters: number;
  /** Those that a token meets. */
  readonly activeParameters: number;
  /** Of weights on a device, by how they are held. */
  readonly weightBytes: Readonly<Record<WeightFormat, number>> & {
    /** What a config does not tell, but tensors do. */
    readonly published?: number;
  };
  /** Of the embedding, in its file. */
  readonly embeddingBytes: number;
  /** Of the cache, for each token that it can hold. */
  readonly kvBytesPerToken: Readonly<Record<KvType, number>>;
}

/** As the CPU holds them. */
export const heldByCpu: readonly HeldWeights[] = weightFormatNames.map((type) => ({
  type,
  groups: [...weightGroupsOf(type)],
  activationTypes: activationTypes.filter((rows) => rowsBeside(type, rows) === rows),
}));

/** All weights of a model, by its config alone. */
export function madeUpSize(config: object, description: ModelDescription): Promise<ModelSize> {
  const source = new MadeUpWeights(config, description);
  return ModelSize.of(source, source, description);
}

/** What a model takes of memory, by its config alone. */
export async function foretell(
  config: object,
  description: ModelDescription = describeModel(config),
): Promise<Foretold> {
  const size = await madeUpSize(config, description);
  const { parameters, activeParameters, embeddingBytes } = size;
  return {
    ...{ parameters, activeParameters, embeddingBytes },
    weightBytes: by(
      weightFormatNames,
      (weightType) => size.weightBytes({ weightType }, heldByCpu).held,
    ),
    kvBytesPerToken: by(kvTypes, (kvType) => kvBytesPerToken(description, kvType)),
  };
}

const by = <Name extends string>(
  names: readonly Name[],
  bytesOf: (name: Name) => number,
): Record<Name, number> =>
  Object.fromEntries(names.map((name) => [name, bytesOf(name)])) as Record<Name, number>;
