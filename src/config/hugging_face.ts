import { describe, expectObject, nearestName, unexpected } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { integer, type Rows, textOf } from '../base/rows.js';
import type { NativeActivation } from '../binding/native.js';
import { knownModelTypes, refusedRows, rowsOf } from '../families/families.js';
import { type FamilyRow, type LayerOption, layerOptions, type Scalar } from '../families/row.js';
import { fieldNames, type MoEConfigFields } from './fields.js';
import { HuggingFaceKeys } from './hugging_face_keys.js';
import { layersOf, type ModelLayers } from './hugging_face_layers.js';
import { keyOf, optionsBy } from './hugging_face_rules.js';

/** Which of a model's layers is meant, where they differ. */
export interface LayerPlace {
  /** The layer's number. */
  readonly layer?: number | undefined;
  /** The stack, in models with several. */
  readonly stack?: string | undefined;
}

export const placeRows = {
  layer: { kind: integer(0) },
  stack: {
    kind: textOf('the name of a stack of layers'),
    flag: { value: 'name', help: 'which stack of layers, where there are several' },
  },
} satisfies Rows<LayerPlace>;

/** The sizes around a model's MoE layers. */
export interface HuggingFaceSizes {
  /** `model_type`. */
  modelType: string;
  hiddenSize: number;
  /** Width of one routed expert. */
  intermediateSize: number;
  /** Width of the always-on expert, 0 without one. */
  sharedSize: number;
  activation: NativeActivation['kind'];
}

/**
 * Reads the sizes out of a parsed `config.json`.
 *
 * @throws `ConfigError` for an unknown `model_type`, or naming the key that is missing or wrong
 */
export function huggingFaceSizes(config: object, at: LayerPlace = {}): HuggingFaceSizes {
  return readHuggingFace(config, at).sizes;
}

/** Options of a layer beside its config. What layers do not have among them is for their maker to refuse. */
export function huggingFaceLayerOptions(
  config: object,
  at: LayerPlace = {},
): HuggingFaceReading['ofLayer'] {
  return readHuggingFace(config, at).ofLayer;
}

/** What a parsed `config.json` says of a layer. */
export interface HuggingFaceReading {
  readonly sizes: HuggingFaceSizes;
  /** How the model routes: without capacity, and with the model's own arithmetic. */
  readonly options: Partial<MoEConfigFields>;
  /** Options of the layer beside its config. */
  readonly ofLayer: { readonly [Option in LayerOption]?: Scalar };
  /** Sentences about keys without effect. */
  readonly notes: readonly string[];
  /** The config's own names of what options were read from, by the option. */
  readonly names: ReadonlyMap<string, string>;
}

/** Throws `ConfigError` for options that `MoEConfig` does not have. */
export function expectKnownOptions(
  config: object,
  at: LayerPlace,
  { options }: HuggingFaceReading,
): void {
  for (const name of Object.keys(options))
    if (!fieldNames.some((field) => field === name))
      throw optionNotKnown(config, at, name, 'MoEConfig has no such field');
}

/** The error for a model that needs an option that is not there, or not with the value that it needs. */
export function optionNotKnown(
  config: object,
  at: LayerPlace,
  option: string,
  reason: string,
): ConfigError {
  const { modelType, row } = modelOf(config, at);
  const key = keyOf(row.config.rules, option);
  const said = key === undefined ? '' : `, which \`${key}\` says`;
  return new ConfigError(
    `Expected a model that needs no \`${option}\`${said}, got one of type ${modelType}: ${reason}`,
  );
}

/** Throws `ConfigError`, with what is supported, unless a parsed `config.json` is that of a model type that is known. */
export function expectKnownModel(config: object): void {
  modelsOf(config);
}

/** The rows of a model, one for each of its stacks. */
export const huggingFaceRows = (config: object): readonly FamilyRow[] =>
  modelsOf(config).map(({ row }) => row);

/** Which layers a config says that there are. */
export function huggingFaceLayers(config: object, at: LayerPlace = {}): ModelLayers {
  const { row, part } = modelOf(config, at);
  return layersOf(part, row.config.layers ?? { key: 'num_hidden_layers' }, row.config.sparse);
}

interface Model {
  readonly modelType: string;
  readonly row: FamilyRow;
  /** The config of the stack. */
  readonly part: unknown;
}

type Json = Readonly<Record<string, unknown>>;

/** The stacks of a model that has them, each where its row says; else `text_config`, or the config itself. */
function modelsOf(config: unknown): readonly Model[] {
  expectObject('config', config);
  const outer = config.model_type;
  const inner = config.text_config as Json | null | undefined;
  for (const modelType of [outer, inner?.model_type]) {
    const refused = refusedRows.find(({ modelTypes }) => modelTypes.includes(modelType as string));
    if (refused !== undefined)
      throw unexpected(
        'model_type',
        `that of a model that is loaded: ${refused.refused}`,
        modelType,
      );
  }
  const nested = rowsOf(outer).map((row) => ({ row, part: partAt(config, row.config.at) }));
  if (nested.some(({ row, part }) => row.config.at !== undefined && part !== undefined))
    return nested
      .filter(({ part }) => part !== undefined)
      .map((found) => ({ ...found, modelType: outer as string }));
  // A language model may have the type of another family whose code it shares.
  const known = [
    { modelType: outer, part: typeof inner === 'object' && inner !== null ? inner : config },
    { modelType: inner?.model_type, part: inner },
  ].find(({ modelType }) => rowsOf(modelType).length > 0);
  if (known === undefined) expectExperts(config);
  if (known === undefined)
    throw unexpected(
      'model_type',
      `one of ${nearestFirst(outer, knownModelTypes).join(', ')}`,
      outer,
    );
  const { modelType, part } = known;
  return rowsOf(modelType).map((row) => ({ modelType: modelType as string, row, part }));
}

/** Throws `ConfigError` for a model that is dense. */
export function expectExperts(config: object): void {
  const { model_type: type, text_config: inner } = config as Json;
  const keys = [config, inner ?? {}].flatMap((part) => Object.keys(part));
  const isModel = keys.includes('hidden_size');
  if (!isModel || [...keys, String(type)].some((word) => /expert|moe/i.test(word))) return;
  throw new ConfigError(
    `Expected a model with experts, got one of type ${describe(type)} whose config names none: dense models are not run`,
  );
}

/** Names, with those in front that may have been meant. */
function nearestFirst(name: unknown, known: readonly string[]): readonly string[] {
  const near = typeof name === 'string' ? nearestName(name, known) : undefined;
  if (near === undefined) return known;
  const others = known.filter((other) => other !== near);
  return [near, ...nearestFirst(name, others)];
}

function partAt(config: unknown, path: readonly string[] = []): unknown {
  let part: unknown = config;
  for (const key of path) part = (part as Json | null | undefined)?.[key];
  return part;
}

function modelOf(config: unknown, { stack }: LayerPlace): Model {
  const models = modelsOf(config);
  const [first] = models;
  const only = models.length === 1 && stack === undefined ? first : undefined;
  const chosen = only ?? models.find(({ row }) => row.stack?.name === stack);
  if (chosen !== undefined) return chosen;
  const names = models
    .map(({ row }) => (row.stack ? `'${row.stack.name}'` : 'left out'))
    .join(' or ');
  throw unexpected('stack', `${names}, as models of type ${first?.modelType} have them`, stack);
}

/** Reads every key that changes what the block computes: one that is left is one that the family does not have. */
export function readHuggingFace(config: object, at: LayerPlace = {}): HuggingFaceReading {
  const { modelType, row, part } = modelOf(config, at);
  const { merged, hiddenSize, experts, chosen, width, shared, rules } = row.config;
  const keys = new HuggingFaceKeys(part, merged, at.layer);
  // A model without MoE layers says so before it has sizes of them.
  const found: Readonly<Record<string, Scalar>> = optionsBy(rules, keys, at.layer);
  const expertNum = keys.experts(experts);
  const numExpertsChosen = keys.count(chosen, 'numExpertsChosen');
  const intermediateSize = keys.count(width, 'moeIntermediateSize');
  const sharedSize = keys.count(shared);
  const isOfLayer = (name: string) => layerOptions.some((option) => option === name);
  const named = Object.entries(found);
  const ofLayer = Object.fromEntries(named.filter(([name]) => isOfLayer(name)));
  const options: Partial<MoEConfigFields> = {
    routingPolicy: 'TopkRouterV2',
    capacityFactor: -1,
    expertNum,
    numExpertsChosen,
    moeIntermediateSize: intermediateSize,
    sharedExpertNum: sharedSize / intermediateSize,
    ...Object.fromEntries(named.filter(([name]) => !isOfLayer(name))),
    // Models divide the weight of a single choice by itself; MindFormers leaves it as it is.
    ...(numExpertsChosen === 1 && found.normTopkProb !== false && { normTopkSingle: true }),
  };
  return {
    sizes: {
      modelType,
      hiddenSize: keys.count(hiddenSize ?? { key: 'hidden_size' }),
      intermediateSize,
      sharedSize,
      activation: found.activation as HuggingFaceSizes['activation'],
    },
    options,
    ofLayer,
    notes: keys.expectUnderstood(modelType),
    names: keys.names,
  };
}
