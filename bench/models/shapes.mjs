// Whole models at the widths of published ones: what their config.json says, and every tensor with its name in safetensors
// and in GGUF files.

/** Their config.json, and what GGUF files call the architecture and the size of an expert. */
const models = {
  'olmoe-1b-7b': {
    config: {
      ...{ model_type: 'olmoe', architectures: ['OlmoeForCausalLM'], clip_qkv: null },
      ...{ hidden_size: 2048, intermediate_size: 1024, num_experts: 64, num_experts_per_tok: 8 },
      ...{ num_attention_heads: 16, num_key_value_heads: 16, norm_topk_prob: false },
      ...{ rms_norm_eps: 1e-5, rope_theta: 10000 },
    },
    /** Norms of queries and keys are as wide as all heads together. */
    wholeRowNorms: true,
    gguf: { architecture: 'olmoe', expertSizeKey: 'feed_forward_length' },
  },
  'qwen3-30b-a3b': {
    config: {
      ...{ model_type: 'qwen3_moe', architectures: ['Qwen3MoeForCausalLM'], head_dim: 128 },
      ...{ hidden_size: 2048, intermediate_size: 6144, moe_intermediate_size: 768 },
      ...{ num_experts: 128, num_experts_per_tok: 8, norm_topk_prob: true },
      ...{ num_attention_heads: 32, num_key_value_heads: 4, decoder_sparse_step: 1 },
      ...{ rms_norm_eps: 1e-6, rope_theta: 1e6, mlp_only_layers: [] },
    },
    wholeRowNorms: false,
    gguf: { architecture: 'qwen3moe', expertSizeKey: 'expert_feed_forward_length' },
  },
};

export const modelNames = Object.keys(models);

/** A real one would outweigh so few layers. */
const vocabulary = 32000;

/**
 * A model of so many layers.
 *
 * @param changes of its config.json
 */
export function modelOf(name, layers, changes = {}) {
  const model = models[name];
  const config = {
    ...{ vocab_size: vocabulary, num_hidden_layers: layers, max_position_embeddings: 16384 },
    ...{ hidden_act: 'silu', tie_word_embeddings: false, attention_bias: false },
    ...{ torch_dtype: 'bfloat16', ...model.config, ...changes },
  };
  const expertSize = config.moe_intermediate_size ?? config.intermediate_size;
  const headSize = config.head_dim ?? config.hidden_size / config.num_attention_heads;
  const all = { ...model, name, layers, config, expertSize, headSize };
  return { ...all, tensors: tensorsOf(all) };
}

/**
 * Every tensor: `names` in safetensors, of one expert each where there are several; `ggufName`; `shape` of each. `plain` ones
 * are float32 in GGUF files whatever the type of the others, and `ones` are all 1.
 */
function tensorsOf({ config, headSize, expertSize, wholeRowNorms, layers }) {
  const [hidden, experts] = [config.hidden_size, config.num_experts];
  const queries = config.num_attention_heads * headSize;
  const keys = config.num_key_value_heads * headSize;
  const matrix = (name, ggufName, ...shape) => ({ names: [name], ggufName, shape });
  const norm = (name, ggufName, size) => ({
    ...{ names: [name], ggufName, shape: [size], plain: true, ones: true },
  });
  const tensors = [
    matrix('model.embed_tokens.weight', 'token_embd.weight', config.vocab_size, hidden),
    norm('model.norm.weight', 'output_norm.weight', hidden),
    matrix('lm_head.weight', 'output.weight', config.vocab_size, hidden),
  ];
  for (let layer = 0; layer < layers; layer++) {
    const ours = (name) => `model.layers.${layer}.${name}.weight`;
    const theirs = (name) => `blk.${layer}.${name}.weight`;
    const of = (make, name, ggufName, ...shape) => make(ours(name), theirs(ggufName), ...shape);
    const all = (name) =>
      Array.from({ length: experts }, (_, expert) => ours(`mlp.experts.${expert}.${name}`));
    tensors.push(
      of(norm, 'input_layernorm', 'attn_norm', hidden),
      of(norm, 'post_attention_layernorm', 'ffn_norm', hidden),
      of(norm, 'self_attn.q_norm', 'attn_q_norm', wholeRowNorms ? queries : headSize),
      of(norm, 'self_attn.k_norm', 'attn_k_norm', wholeRowNorms ? keys : headSize),
      of(matrix, 'self_attn.q_proj', 'attn_q', queries, hidden),
      of(matrix, 'self_attn.k_proj', 'attn_k', keys, hidden),
      of(matrix, 'self_attn.v_proj', 'attn_v', keys, hidden),
      of(matrix, 'self_attn.o_proj', 'attn_output', hidden, queries),
      { ...of(matrix, 'mlp.gate', 'ffn_gate_inp', experts, hidden), plain: true },
      ...['gate', 'up', 'down'].map((part) => ({
        names: all(`${part}_proj`),
        ggufName: theirs(`ffn_${part}_exps`),
        shape: part === 'down' ? [hidden, expertSize] : [expertSize, hidden],
      })),
    );
  }
  return tensors;
}

/** Weights that a token passes through: in the type of the model, and in float32. */
export function weightsPerToken({ config, tensors }) {
  const sizes = { held: 0, plain: 0 };
  for (const { names, ggufName, shape, plain } of tensors) {
    if (ggufName === 'token_embd.weight') continue;
    const chosen = Math.min(names.length, config.num_experts_per_tok);
    sizes[plain ? 'plain' : 'held'] += chosen * elements(shape);
  }
  return sizes;
}

/** Values of keys and of values that one token adds to the cache, in all layers. */
export const cachedPerToken = ({ config, headSize, layers }) =>
  2 * layers * config.num_key_value_heads * headSize;

export const elements = (shape) => shape.reduce((all, size) => all * size, 1);
