import { describe, expectObject } from '../checks.js';
import { ConfigError } from '../errors.js';
import type { NativeLayerSpec } from '../native.js';
import type { MoEConfigFields } from './fields.js';
import { type HuggingFaceFamily, huggingFaceFamilies } from './hugging_face_families.js';
import { HuggingFaceKeys } from './hugging_face_keys.js';

/** The sizes around a model's MoE layers. */
export interface HuggingFaceSizes {
  /** `model_type`. */
  modelType: string;
  hiddenSize: number;
  /** Width of one routed expert. */
  intermediateSize: number;
  /** Width of the always-on expert, 0 without one. */
  sharedSize: number;
  activation: NativeLayerSpec['activation'];
}

/**
 * Reads the sizes out of a parsed `config.json`.
 *
 * @throws `ConfigError` for an unknown `model_type`, or naming the key that is missing or wrong
 */
export function huggingFaceSizes(config: object): HuggingFaceSizes {
  const { modelType, family, keys } = read(config);
  return {
    modelType,
    hiddenSize: keys.count('hidden_size'),
    intermediateSize: keys.count(family.width),
    sharedSize: family.sharedSize(keys),
    activation: activationOf(modelType, keys),
  };
}

/** How a model routes, out of its parsed `config.json`: without capacity, and with the model's own arithmetic. */
export function huggingFaceOptions(config: object): Partial<MoEConfigFields> {
  const { family, keys } = read(config);
  const moeIntermediateSize = keys.count(family.width);
  const options: Partial<MoEConfigFields> = {
    routingPolicy: 'TopkRouterV2',
    capacityFactor: -1,
    expertNum: keys.count(family.experts),
    numExpertsChosen: keys.count('num_experts_per_tok'),
    moeIntermediateSize,
    sharedExpertNum: family.sharedSize(keys) / moeIntermediateSize,
    ...family.routing(keys),
  };
  if (options.numExpertsChosen === 1 && options.normTopkProb !== false)
    throw new ConfigError(
      'Expected `num_experts_per_tok` to be at least 2 in a model that normalises its weights, got `1` (number): ' +
        'MindFormers leaves the weight of a single choice as it is',
    );
  return options;
}

interface HuggingFaceModel {
  modelType: string;
  family: HuggingFaceFamily;
  keys: HuggingFaceKeys;
}

/** Enters `text_config`, where models with more than text keep the language model's part. */
function read(config: unknown): HuggingFaceModel {
  expectObject('config', config);
  for (const part of [config, config.text_config]) {
    const modelType = (part as { model_type?: unknown } | null | undefined)?.model_type;
    const family = huggingFaceFamilies.get(modelType as string);
    if (family !== undefined)
      return { modelType: modelType as string, family, keys: new HuggingFaceKeys(part) };
  }
  const known = [...huggingFaceFamilies.keys()].join(', ');
  throw new ConfigError(
    `Expected \`model_type\` to be one of ${known}, got ${describe(config.model_type)}`,
  );
}

function activationOf(modelType: string, keys: HuggingFaceKeys): HuggingFaceSizes['activation'] {
  const activation = keys.oneOf('hidden_act', ['silu', 'swish', 'gelu'], 'silu');
  if (modelType !== 'gpt_oss') return activation === 'gelu' ? 'geglu' : 'swiglu';
  keys.only('swiglu_limit', 7, 'the activation of gpt_oss has it built in');
  return 'swiglu_oai';
}
