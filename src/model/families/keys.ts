import { blockKeys, keyAliases, mayBeBlockKey } from '../../families/keys.js';

/**
 * Keys that change what a decoder computes in the models that have them, and the values at which they change nothing.
 * Absent and null change nothing either. What a family's row does not read is refused at any other value.
 */
const neutral = {
  ...valued([], ['hidden_size', 'vocab_size', 'num_hidden_layers', 'num_attention_heads']),
  ...valued([], ['num_key_value_heads', 'head_dim', 'rms_norm_eps', 'max_position_embeddings']),
  ...valued([], ['rope_theta', 'rope_scaling', 'rope_parameters']),
  ...valued([], ['original_max_position_embeddings']),
  ...valued([1], ['partial_rotary_factor', 'rotary_pct']),
  ...valued([false], ['rope_interleave', 'attention_bias', 'qkv_bias', 'use_qk_norm', 'use_bias']),
  ...valued([false], ['tie_word_embeddings', 'use_sliding_window', 'attention_out_bias']),
  ...valued([false], ['lm_head_bias', 'alibi', 'use_parallel_residual', 'parallel_attn']),
  ...valued([], ['q_lora_rank', 'kv_lora_rank', 'qk_nope_head_dim', 'qk_rope_head_dim']),
  ...valued([], ['qk_head_dim', 'v_head_dim', 'clip_qkv', 'sliding_window', 'layer_types']),
  ...valued([], ['attention_multiplier', 'attn_logit_softcapping', 'final_logit_softcapping']),
  ...valued([], ['query_pre_attn_scalar', 'attention_chunk_size', 'no_rope_layers', 'alibi_bias']),
  ...valued([1], ['embedding_multiplier', 'residual_multiplier', 'logits_scaling', 'logit_scale']),
  ...valued(['rope'], ['position_embedding_type']),
  // Which layers have an MoE block, where that is not for their row in src/families to say.
  ...valued([0], ['first_k_dense_replace']),
  ...valued([1], ['decoder_sparse_step', 'moe_layer_freq']),
  ...valued([], ['mlp_only_layers', 'mlp_layer_types']),
  // Models with an encoder, or parts for other things than text.
  ...valued([], ['text_config', 'vision_config', 'audio_config']),
  ...valued([false], ['is_encoder_decoder', 'add_cross_attention']),
} satisfies Readonly<Record<string, readonly unknown[]>>;

export type DecoderKey = keyof typeof neutral;

export const decoderKeys: ReadonlyMap<string, readonly unknown[]> = new Map(
  Object.entries(neutral),
);

function valued<const Name extends string>(
  values: readonly unknown[],
  keys: readonly Name[],
): Record<Name, readonly unknown[]> {
  return Object.fromEntries(keys.map((key) => [key, values])) as Record<Name, readonly unknown[]>;
}

/** Keys that change nothing of what a decoder computes: where it comes from, how it is trained, sampled and stored. */
const withoutEffect = new RegExp(
  [
    '^_|^(architectures|auto_map|model_type|torch_dtype|dtype|transformers_version|tokenizer_class)$',
    '_token_id$|_implementation$|dropout|initializer|_loss|aux_|^unsloth',
    '^(use_cache|return_dict|output_\\w+|id2label|label2id|problem_type|task_specific_params)$',
    '^(pretraining_tp|ep_size|seq_aux|chunk_size_feed_forward|initial_context_length)$',
    '^(num_nextn_predict_layers|num_mtp_layers|max_window_layers|intermediate_size)$',
    '^(quantization_config|compression_config|quantization|pruned_heads|is_decoder|use_mla)$',
    '^(cross_attention_hidden_size|tie_encoder_decoder|finetuning_task|name_or_path)$',
    '^(max_length|min_length|do_sample|temperature|top_k|top_p|typical_p|num_beams)$',
  ].join('|'),
);

const ofBlock = new Set([...blockKeys.keys(), ...keyAliases.flat()]);

/** Whether a key is known, or is for the feed-forward part's own rows to understand. */
export const isUnderstood = (key: string): boolean =>
  withoutEffect.test(key) || decoderKeys.has(key) || ofBlock.has(key) || mayBeBlockKey(key);

/** Whether an unknown key may be one that changes what a decoder computes. */
export const mayBeDecoderKey = (key: string): boolean =>
  /att|rope|rotary|position|norm|window|multipl|scal|cap|clip|bias|head|lora|qk|kv|residual|embed|logit|layer|sink|alibi|parallel|mlp|dim|size/.test(
    key,
  );
