// The config.json that a model in a GGUF file would have. Keys: gguf-py, constants.py.
import { describe } from '../../../base/checks.js';
import { CheckpointError } from '../../../base/errors.js';
import { type GgufFacts, type GgufFamily, ggufFamilies } from './families.js';
import type { GgufValue } from './reader.js';

type Config = Record<string, unknown>;

/** Keys that say the same in both, behind the architecture's name. */
const renamed: Readonly<Record<string, string>> = {
  context_length: 'max_position_embeddings',
  embedding_length: 'hidden_size',
  leading_dense_block_count: 'first_k_dense_replace',
  embedding_scale: 'embedding_multiplier',
  residual_scale: 'residual_multiplier',
  logit_scale: 'logits_scaling',
  'attention.head_count': 'num_attention_heads',
  'attention.head_count_kv': 'num_key_value_heads',
  'attention.layer_norm_rms_epsilon': 'rms_norm_eps',
  'attention.scale': 'attention_multiplier',
  'attention.q_lora_rank': 'q_lora_rank',
  'attention.kv_lora_rank': 'kv_lora_rank',
  expert_used_count: 'num_experts_per_tok',
  expert_shared_count: 'n_shared_experts',
  expert_group_count: 'n_group',
  expert_group_used_count: 'topk_group',
  expert_weights_scale: 'routed_scaling_factor',
  expert_weights_norm: 'norm_topk_prob',
  'rope.freq_base': 'rope_theta',
};

/** Keys that are read by what stands below, or that follow from others. */
const otherKeys = new Set([
  ...['block_count', 'nextn_predict_layers', 'vocab_size', 'feed_forward_length'],
  ...['expert_count', 'expert_feed_forward_length', 'expert_shared_feed_forward_length'],
  ...['expert_gating_func', 'attention.key_length', 'attention.value_length'],
  ...['attention.key_length_mla', 'attention.value_length_mla', 'attention.sliding_window'],
  ...['rope.dimension_count', 'rope.scaling.type', 'rope.scaling.factor'],
  ...['rope.scaling.original_context_length', 'rope.scaling.yarn_beta_fast'],
  ...['rope.scaling.yarn_beta_slow', 'rope.scaling.yarn_log_multiplier'],
  ...['rope.scaling.finetuned', 'rope.scaling.attn_factor'],
]);

/** Architectures whose `attention.sliding_window` counts. */
const windowed = ['llama', 'gpt-oss', 'dots1'];

/** Number of what makes weights of a router's logits, where a file says it, by architecture. Absent: it may not. */
const scores: Readonly<Record<string, readonly number[]>> = {
  ...{ llama: [1], olmoe: [1], qwen2moe: [1], qwen3moe: [1], granitemoe: [1] },
  ...{ deepseek2: [1, 2], glm4moe: [2], dots1: [2], 'gpt-oss': [3] },
};

/** What a GGUF file says of its model. */
export interface GgufModel {
  readonly architecture: string;
  readonly family: GgufFamily;
  readonly config: Readonly<Config>;
  readonly experts: number;
  /** Numbers of a head of queries and keys. */
  readonly headSize: number;
}

/**
 * @param tensors names of the file's tensors
 * @throws `CheckpointError` for an architecture that is not read, a key that is missing or not known
 */
export function ggufModel(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: ReadonlySet<string>,
  vocabulary: number | undefined,
): GgufModel {
  const architecture = metadata.get('general.architecture');
  const fail = (expected: string) => new CheckpointError(`Expected ${path} to have ${expected}`);
  if (typeof architecture !== 'string')
    throw fail(`the text general.architecture, got ${describe(architecture)}`);
  const get = (key: string) => metadata.get(`${architecture}.${key}`);
  const endings = new Set([...tensors].map((name) => name.replace(/^blk\.\d+\./, '')));
  const facts: GgufFacts = { get, hasTensor: (ending) => endings.has(ending) };
  const experts = get('expert_count');
  const family = Object.hasOwn(ggufFamilies, architecture)
    ? ggufFamilies[architecture]?.(facts)
    : undefined;
  if (family === undefined)
    throw fail(
      `one of the architectures ${Object.keys(ggufFamilies).join(', ')}, got ${describe(architecture)}`,
    );
  if (experts === undefined || experts === 0)
    throw fail(`experts, got ${architecture}.expert_count of ${describe(experts)}`);
  const number = (key: string): number => {
    const value = get(key);
    if (typeof value !== 'number')
      throw fail(`a number at ${architecture}.${key}, got ${describe(value)}`);
    return value;
  };
  expectKnown(metadata, architecture, fail);
  const gating = get('expert_gating_func');
  if (gating !== undefined && gating !== 0 && !scores[architecture]?.includes(gating as number))
    throw fail(
      `${architecture}.expert_gating_func of ${scores[architecture]?.join(' or ')}, got ${describe(gating)}`,
    );

  const config: Config = { model_type: family.modelType, hidden_act: 'silu', ...family.always };
  for (const [key, name] of Object.entries(renamed)) {
    const value = get(key);
    if (value !== undefined) config[name] = value;
  }
  const width = get('expert_feed_forward_length') ?? number('feed_forward_length');
  config['num_hidden_layers'] = number('block_count') - Number(get('nextn_predict_layers') ?? 0);
  config['vocab_size'] = get('vocab_size') ?? vocabulary;
  config[family.keys.experts] = experts;
  if (get('feed_forward_length') !== undefined && family.keys.width !== 'intermediate_size')
    config['intermediate_size'] = get('feed_forward_length');
  config[family.keys.width] = width;
  const sharedWidth = get('expert_shared_feed_forward_length');
  if (family.keys.sharedWidth !== undefined && sharedWidth !== undefined)
    config[family.keys.sharedWidth] = sharedWidth;
  config['tie_word_embeddings'] = !tensors.has('output.weight');
  const window = get('attention.sliding_window');
  if (windowed.includes(architecture))
    config['sliding_window'] = window === 0 ? null : (window ?? null);
  else if (window !== undefined && window !== 0)
    throw fail(
      `no ${architecture}.attention.sliding_window: windows of this architecture are not read`,
    );
  if (family.bias !== undefined) config[family.bias] = facts.hasTensor('attn_q.bias');
  if (architecture === 'glm4moe') config['use_qk_norm'] = facts.hasTensor('attn_q_norm.weight');
  const headSize = setHeads(config, get, number);
  setRotation(config, architecture, get, fail);
  return { architecture, family, config, experts: number('expert_count'), headSize };
}

/** Nothing that could change what a model computes is passed over. */
function expectKnown(
  metadata: ReadonlyMap<string, GgufValue>,
  architecture: string,
  fail: (expected: string) => CheckpointError,
): void {
  for (const name of metadata.keys()) {
    if (!name.startsWith(`${architecture}.`)) continue;
    const key = name.slice(architecture.length + 1);
    if (!Object.hasOwn(renamed, key) && !otherKeys.has(key))
      throw fail(`keys that are known, got ${name}: what it changes is not read`);
  }
}

/** Sizes of heads; returns that of queries and keys. */
function setHeads(config: Config, get: GgufFacts['get'], number: (key: string) => number): number {
  const rotated = get('rope.dimension_count');
  if (config['kv_lora_rank'] !== undefined) {
    // Keys without the ending are of latent rows where those with it are there.
    const keys = get('attention.key_length_mla') ?? number('attention.key_length');
    const values = get('attention.value_length_mla') ?? number('attention.value_length');
    const rope = number('rope.dimension_count');
    config['qk_rope_head_dim'] = rope;
    config['qk_nope_head_dim'] = Number(keys) - rope;
    config['v_head_dim'] = values;
    config['num_key_value_heads'] = config['num_attention_heads'];
    config['q_lora_rank'] ??= null;
    return Number(keys);
  }
  const size =
    get('attention.key_length') ?? number('embedding_length') / number('attention.head_count');
  config['head_dim'] = size;
  if (rotated !== undefined && rotated !== size)
    config['partial_rotary_factor'] = Number(rotated) / Number(size);
  return Number(size);
}

function setRotation(
  config: Config,
  architecture: string,
  get: GgufFacts['get'],
  fail: (expected: string) => CheckpointError,
): void {
  const attention = get('rope.scaling.attn_factor');
  if (attention !== undefined && attention !== 1)
    throw fail(`${architecture}.rope.scaling.attn_factor of 1, got ${describe(attention)}`);
  const kind = get('rope.scaling.type') ?? 'none';
  if (kind === 'none') {
    // gpt-oss' class has YaRN where nothing says otherwise.
    config['rope_scaling'] = architecture === 'gpt-oss' ? { rope_type: 'default' } : null;
    return;
  }
  if (kind !== 'linear' && kind !== 'yarn')
    throw fail(`positions of type none, linear or yarn, got ${describe(kind)}`);
  const multiplier = get('rope.scaling.yarn_log_multiplier');
  const growth = multiplier === undefined ? undefined : rounded(Number(multiplier) / 0.1);
  const scaling: Config = {
    ...{ rope_type: kind, factor: get('rope.scaling.factor') },
    original_max_position_embeddings: get('rope.scaling.original_context_length'),
    beta_fast: get('rope.scaling.yarn_beta_fast'),
    beta_slow: get('rope.scaling.yarn_beta_slow'),
    ...(growth !== undefined && growth !== 0 && { mscale: growth, mscale_all_dim: growth }),
    // The borders of its frequencies are not rounded, which no key says.
    ...(architecture === 'gpt-oss' && { truncate: false }),
  };
  config['rope_scaling'] = Object.fromEntries(
    Object.entries(scaling).filter(([, value]) => value !== undefined),
  );
}

/** What a float32 was before it was rounded, to seven digits. */
const rounded = (value: number): number => Number(value.toPrecision(7));
