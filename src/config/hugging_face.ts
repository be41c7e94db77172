import { describe, expectObject } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import type { NativeActivation } from '../binding/native.js';
import type { MoEConfigFields } from './fields.js';
import { type HuggingFaceFamily, huggingFaceFamilies } from './hugging_face_families.js';
import { HuggingFaceKeys } from './hugging_face_keys.js';

/** The values of `hidden_act` that a gated expert may have. */
const activations = ['silu', 'swish', 'gelu'] as const;

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
export function huggingFaceSizes(config: object): HuggingFaceSizes {
  const { modelType, family, keys, intermediateSize, sharedSize } = read(config);
  const activation = keys.oneOf('hidden_act', family.activations ?? activations, 'silu');
  return {
    modelType,
    hiddenSize: keys.count('hidden_size'),
    intermediateSize,
    sharedSize,
    activation: family.activation ?? (activation === 'gelu' ? 'geglu' : 'swiglu'),
  };
}

/**
 * How a model routes, out of its parsed `config.json`: without capacity, and with the model's own arithmetic. `notes` are
 * sentences about keys without effect.
 */
export function huggingFaceOptions(config: object): {
  options: Partial<MoEConfigFields>;
  notes: string[];
} {
  const { options, notes } = read(config);
  const { numExpertsChosen, normTopkProb } = options;
  // MindFormers leaves the weight of a single choice as it is.
  const normTopkSingle = numExpertsChosen === 1 && normTopkProb !== false;
  return { options: normTopkSingle ? { ...options, normTopkSingle } : options, notes };
}

/** Throws `ConfigError`, with what is supported, unless a parsed `config.json` is that of a model type that is known. */
export function expectKnownModel(config: object): void {
  modelOf(config);
}

interface HuggingFaceModel {
  modelType: string;
  family: HuggingFaceFamily;
  keys: HuggingFaceKeys;
}

/** Enters `text_config`, where models with more than text keep the language model's part. */
function modelOf(config: unknown): HuggingFaceModel {
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

/** Reads every key that changes what the block computes: one that is left is one that the family does not have. */
function read(config: unknown) {
  const model = modelOf(config);
  const { modelType, family, keys } = model;
  const intermediateSize = keys.count(family.width);
  const sharedSize = family.sharedSize(keys);
  const options: Partial<MoEConfigFields> = {
    routingPolicy: 'TopkRouterV2',
    capacityFactor: -1,
    expertNum: keys.count(family.experts),
    numExpertsChosen: keys.count('num_experts_per_tok'),
    moeIntermediateSize: intermediateSize,
    sharedExpertNum: sharedSize / intermediateSize,
    ...family.routing(keys),
  };
  return {
    ...model,
    intermediateSize,
    sharedSize,
    options,
    notes: keys.expectUnderstood(modelType),
  };
}
