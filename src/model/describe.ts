import { expectObject, unexpected } from '../base/checks.js';
import type { NativeAttention, NativeModelSpec } from '../binding/model.js';
import { expectExperts, huggingFaceLayers, huggingFaceSizes } from '../config/hugging_face.js';
import type { Activation } from '../layer/experts.js';
import { type AttentionFacts, type AttentionParts, attentionOf } from './attention.js';
import { decoderRows, decoderTypes } from './families/rows.js';
import { generationOf, type SamplingDefaults } from './generation.js';
import { ModelKeys, mostLayers } from './model_keys.js';
import { type Rope, type RopeKind, ropeOf } from './rope.js';
import { RopeConfig } from './rope_config.js';
import { type LayerKind, windowsOf } from './windows.js';

type Json = Readonly<Record<string, unknown>>;

/** One layer of a decoder, without its weights. */
export interface LayerDescription {
  readonly attention: NativeAttention;
  readonly parts: AttentionParts;
  /** Of a dense feed-forward part; undefined where it is a Mixture-of-Experts block, which its own row describes. */
  readonly dense: { readonly width: number; readonly activation: Activation } | undefined;
}

/** What of a model's spec its files say. */
export type DescribedSpec = Pick<
  NativeModelSpec,
  | 'hiddenSize'
  | 'vocabularySize'
  | 'layers'
  | 'normEpsilon'
  | 'embeddingFactor'
  | 'residualFactor'
  | 'logitsFactor'
  | 'contextLength'
  | 'rotations'
>;

/** A whole model, without its weights and without how it is held. */
export interface ModelDescription {
  readonly modelType: string;
  readonly spec: DescribedSpec;
  readonly layers: readonly LayerDescription[];
  /** How positions are turned: of each of the spec's rotations. */
  readonly ropes: readonly RopeKind[];
  /** The output head is the embedding. */
  readonly tied: boolean;
  /** Any of them ends a text. */
  readonly endTokens: readonly number[];
  readonly sampling: SamplingDefaults;
  /** Sentences about what of the files has no effect. */
  readonly notes: readonly string[];
}

export interface DescribeOptions {
  /** Tokens that a sequence may have; undefined: what the model is made for. */
  contextLength?: number | undefined;
}

/**
 * Describes a model by its parsed `config.json` and `generation_config.json`.
 *
 * @throws `ConfigError` for a model type that is not known, a key that is missing or wrong, and one that changes what a
 *   decoder computes and is not understood
 */
export function describeModel(
  config: unknown,
  generation?: Json | undefined,
  { contextLength }: DescribeOptions = {},
): ModelDescription {
  expectObject('config', config);
  const modelType = config['model_type'];
  const row = decoderRows.find(({ modelTypes }) => modelTypes.includes(modelType as string));
  if (row === undefined) expectExperts(config);
  if (row === undefined)
    throw unexpected('model_type', `one of ${decoderTypes.join(', ')}`, modelType);
  const keys = new ModelKeys(config);
  const count = keys.integer('num_hidden_layers', undefined, mostLayers);
  const vocabularySize = keys.integer('vocab_size');
  const rope = new RopeConfig(keys, row);
  const facts = attentionOf(keys, row.attention, rope.part);
  const { kinds, size } = windowsOf(
    keys,
    row.attention.kind === 'grouped' ? row.attention.windows : undefined,
    count,
  );
  const ropes = ropesOf(keys, rope, facts, kinds, contextLength);
  const different = [...new Set(ropes.values())];
  const rotations = different.map(({ rotation }) => rotation);
  const feedForward = huggingFaceLayers(config);
  keys.ignore(feedForward.keys);
  const { activation } = huggingFaceSizes(config, { layer: 0 });
  const layers = kinds.map((kind, layer): LayerDescription => {
    const { attention } = facts;
    const { scaleFactor, rotation } = ropes.get(kind) as Rope;
    return {
      attention: {
        ...attention,
        scale: attention.scale * (attention.kind === 'latent' ? scaleFactor : 1),
        window: kind === 'sliding_attention' ? size : 0,
        rotation: rotations.indexOf(rotation),
      },
      parts: facts.parts,
      dense: feedForward.isSparse(layer) ? undefined : { width: keys.denseWidth(), activation },
    };
  });
  const factor = (key: 'embedding_multiplier' | 'residual_multiplier' | 'logits_scaling') =>
    row.factors ? keys.number(key, { above: 0 }, 1) : 1;
  const { endTokens, sampling, notes } = generationOf(config, generation, vocabularySize);
  return {
    modelType: modelType as string,
    spec: {
      ...{ hiddenSize: keys.integer('hidden_size'), vocabularySize, layers: count, rotations },
      normEpsilon: keys.number('rms_norm_eps', { above: 0 }),
      embeddingFactor: factor('embedding_multiplier'),
      residualFactor: factor('residual_multiplier'),
      logitsFactor: 1 / factor('logits_scaling'),
      contextLength: Math.min(...[...ropes.values()].map(({ context }) => context)),
    },
    layers,
    ropes: different.map(({ kind }) => kind),
    tied: keys.boolean('tie_word_embeddings', false),
    endTokens,
    sampling,
    notes: [...keys.expectUnderstood(modelType as string, row.says ?? {}), ...notes],
  };
}

/** How layers of each kind turn positions; the same where it is described once. */
function ropesOf(
  keys: ModelKeys,
  config: RopeConfig,
  { attention, interleaved }: AttentionFacts,
  kinds: readonly LayerKind[],
  context: number | undefined,
): ReadonlyMap<LayerKind, Rope> {
  const original = keys.get('original_max_position_embeddings');
  const made = new Map<Json, Rope>();
  const ropeFor = (kind: LayerKind): Rope => {
    const described = config.for(kind);
    const rope =
      made.get(described) ??
      ropeOf(described, {
        theta: config.theta(kind),
        positions: keys.integer('max_position_embeddings'),
        ...(original !== undefined && {
          original: keys.integer('original_max_position_embeddings'),
        }),
        ...{ context, size: attention.rotatedSize, interleaved },
      });
    made.set(described, rope);
    return rope;
  };
  return new Map(kinds.map((kind) => [kind, ropeFor(kind)]));
}
