import {
  describe,
  expectInteger,
  expectObject,
  expectOneOf,
  unexpected,
} from '../../base/checks.js';
import { CheckpointError, ConfigError } from '../../base/errors.js';
import { expectOptions, type Rows } from '../../base/rows.js';
import { MoEConfig } from '../../config/config.js';
import { type Activation, type ExpertOptions, expertRows } from '../../layer/experts.js';
import {
  type ActivationType,
  activationTypes,
  type WeightGroup,
  type WeightType,
  weightGroups,
  weightTypes,
} from '../../layer/options.js';
import type { LayerSizes } from '../families/sizes.js';

/**
 * A packed checkpoint is one safetensors file. Its metadata says what `PackedDescription` has; each MoE layer's parts are
 * the tensors `layers.{n}.packed.{part}`, bytes in the layout of the device that packed them, each beginning at a multiple
 * of 64 bytes into the file. `stored` says of each layer which types its tensors were of, as a map from its number.
 */
const formatName = 'node-moe packed';

/** To be raised whenever what this file says of the format changes. */
const formatVersion = '1';

/** What the metadata of a packed checkpoint says. */
export interface PackedDescription extends LayerSizes, ExpertOptions {
  /** How the device that packed the weights lays them out. Another layout is refused when a layer is made. */
  layout: string;
  weightType: WeightType;
  weightGroup: WeightGroup | undefined;
  activationType: ActivationType;
  activation: Activation;
  modelType: string;
  config: MoEConfig;
  /** What was packed, as it was named then. */
  source: string;
}

/** The types that a layer's tensors were stored in before they were packed, by its number; of files of before none. */
export type StoredTypes = ReadonlyMap<number, readonly string[]>;

/** As text, for the metadata of a safetensors file. */
export function packedMetadata(
  description: PackedDescription,
  stored: StoredTypes,
): Record<string, string> {
  const { layout, config, source, ...rest } = description;
  return {
    format: formatName,
    version: formatVersion,
    layout,
    source,
    layer: JSON.stringify({ ...rest, config: config.toJSON() }),
    stored: JSON.stringify(Object.fromEntries(stored)),
  };
}

/** @throws `CheckpointError` for damaged metadata */
export function readStoredTypes(path: string, metadata: ReadonlyMap<string, string>): StoredTypes {
  if (metadata.get('format') !== formatName) return new Map();
  try {
    const said: unknown = JSON.parse(metadata.get('stored') ?? '{}');
    expectObject('stored', said);
    return new Map(
      Object.entries(said).map(([layer, types]) => {
        if (!Array.isArray(types)) throw unexpected('stored', 'lists of types', types);
        return [Number(layer), types.map(String)];
      }),
    );
  } catch (cause) {
    throw new CheckpointError(
      `Expected the metadata of ${path} to say what was packed, got: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/**
 * Reads the metadata of a file, undefined when it is no packed checkpoint.
 *
 * @throws `CheckpointError` for another version or damaged metadata
 */
export function readPackedMetadata(
  path: string,
  metadata: ReadonlyMap<string, string>,
): PackedDescription | undefined {
  if (metadata.get('format') !== formatName) return undefined;
  const version = metadata.get('version');
  if (version !== formatVersion)
    throw new CheckpointError(
      `Expected ${path} to be packed in version ${formatVersion}, which this node-moe reads, got ${describe(version)}: ` +
        'pack the checkpoint again',
    );
  try {
    const text = (name: string): string => {
      const value = metadata.get(name);
      if (value === undefined) throw new ConfigError(`Expected \`${name}\`, got none`);
      return value;
    };
    const layer: unknown = JSON.parse(text('layer'));
    expectObject('layer', layer);
    return { ...checkLayer(layer), layout: text('layout'), source: text('source') };
  } catch (cause) {
    throw new CheckpointError(
      `Expected the metadata of ${path} to describe packed layers, got: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** The activation is always written. */
const packedRows: Rows<ExpertOptions & { activation: Activation }> = {
  ...expertRows,
  activation: { ...expertRows.activation, required: true },
};

function checkLayer(layer: object): Omit<PackedDescription, 'layout' | 'source'> {
  const { weightType, weightGroup, activationType, modelType, config, ...rest } = layer as Record<
    string,
    unknown
  >;
  expectOneOf('weightType', weightType, weightTypes);
  if (weightGroup !== undefined) expectOneOf('weightGroup', weightGroup, weightGroups);
  expectOneOf('activationType', activationType, activationTypes);
  const { expertNum, hiddenSize, intermediateSize, sharedSize, ...experts } = rest;
  expectInteger('expertNum', expertNum, 1);
  expectInteger('hiddenSize', hiddenSize, 1);
  expectInteger('intermediateSize', intermediateSize, 1);
  expectInteger('sharedSize', sharedSize, 0);
  expectObject('config', config);
  expectOptions<ExpertOptions & { activation: Activation }>('packed layers', experts, packedRows);
  return {
    ...experts,
    weightType,
    weightGroup,
    activationType,
    modelType: String(modelType),
    config: MoEConfig.parse(config),
    expertNum,
    hiddenSize,
    intermediateSize,
    sharedSize,
  };
}
