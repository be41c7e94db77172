// @ts-check
// Tensors of a checkpoint by llama.cpp's names.
import { expertTensors } from './experts.mjs';
import { columns, matrixRows, ofEach, picked, turned, widthOf } from './rows.mjs';

/**
 * @typedef {import('./rows.mjs').Rows} Rows
 * @typedef {Readonly<Record<string, any>>} Config
 * @typedef {(name: string) => Rows | undefined} Read a tensor of the checkpoint by its name
 * @typedef {{ paired?: boolean, postNorm?: boolean }} Spelling
 */

/**
 * What rotates side by side there is half a head apart in checkpoints.
 *
 * @param {Rows} rows
 * @param {number} heads
 */
function paired(rows, heads) {
  const vector = rows.shape.length === 1;
  const count = vector ? widthOf(rows) : matrixRows(rows);
  const size = count / heads;
  /** @param {number} i */
  const from = (i) => i - (i % size) + (i % 2) * (size / 2) + Math.floor((i % size) / 2);
  return vector ? columns(rows, count, from) : picked(rows, rows.shape, from);
}

/**
 * A layer's tensors that have one other name each: llama.cpp's, and those that families have.
 *
 * @type {readonly (readonly [name: string, names: readonly string[]])[]}
 */
const renamed = [
  ['attn_norm.weight', ['input_layernorm.weight']],
  ['attn_q.weight', ['self_attn.q_proj.weight']],
  ['attn_q.bias', ['self_attn.q_proj.bias']],
  ['attn_k.weight', ['self_attn.k_proj.weight']],
  ['attn_k.bias', ['self_attn.k_proj.bias']],
  ['attn_v.weight', ['self_attn.v_proj.weight']],
  ['attn_v.bias', ['self_attn.v_proj.bias']],
  ['attn_output.weight', ['self_attn.o_proj.weight']],
  ['attn_output.bias', ['self_attn.o_proj.bias']],
  ['attn_q_norm.weight', ['self_attn.q_norm.weight']],
  ['attn_k_norm.weight', ['self_attn.k_norm.weight']],
  ['attn_sinks.weight', ['self_attn.sinks']],
  ['attn_q_a.weight', ['self_attn.q_a_proj.weight']],
  ['attn_q_a_norm.weight', ['self_attn.q_a_layernorm.weight']],
  ['attn_q_b.weight', ['self_attn.q_b_proj.weight']],
  ['attn_kv_a_mqa.weight', ['self_attn.kv_a_proj_with_mqa.weight']],
  ['attn_kv_a_norm.weight', ['self_attn.kv_a_layernorm.weight']],
  ['ffn_norm.weight', ['post_attention_layernorm.weight']],
  ['ffn_gate.weight', ['mlp.gate_proj.weight']],
  ['ffn_up.weight', ['mlp.up_proj.weight']],
  ['ffn_down.weight', ['mlp.down_proj.weight']],
  [
    'ffn_gate_inp.weight',
    [
      ...['mlp.gate.weight', 'mlp.router.weight', 'block_sparse_moe.gate.weight'],
      'block_sparse_moe.router.layer.weight',
    ],
  ],
  ['ffn_gate_inp.bias', ['mlp.router.bias']],
  ['exp_probs_b.bias', ['mlp.gate.e_score_correction_bias']],
  [
    'ffn_gate_shexp.weight',
    ['mlp.shared_experts.gate_proj.weight', 'mlp.shared_expert.gate_proj.weight'],
  ],
  [
    'ffn_up_shexp.weight',
    ['mlp.shared_experts.up_proj.weight', 'mlp.shared_expert.up_proj.weight'],
  ],
  [
    'ffn_down_shexp.weight',
    [
      ...['mlp.shared_experts.down_proj.weight', 'mlp.shared_expert.down_proj.weight'],
      'shared_mlp.output_linear.weight',
    ],
  ],
];

/** Those that are pieces of others. @param {Read} read @param {Config} config @returns {Record<string, Rows | undefined>} */
function pieces(read, config) {
  const { num_attention_heads: heads, qk_nope_head_dim: nope, v_head_dim: values } = config;
  const latentUp = read('self_attn.kv_b_proj.weight');
  const byHead = latentUp && {
    ...latentUp,
    shape: [heads, matrixRows(latentUp) / heads, widthOf(latentUp)],
  };
  const shared = read('shared_mlp.input_linear.weight');
  const width = shared ? matrixRows(shared) / 2 : 0;
  const sharedRouter = read('mlp.shared_expert_gate.weight');
  return {
    'attn_k_b.weight': byHead && turned(ofEach(byHead, nope, (i) => i)),
    'attn_v_b.weight': byHead && ofEach(byHead, values, (i) => nope + i),
    ...(shared && {
      'ffn_gate_shexp.weight': ofEach(shared, width, (i) => i),
      'ffn_up_shexp.weight': ofEach(shared, width, (i) => width + i),
    }),
    'ffn_gate_inp_shexp.weight': sharedRouter && {
      ...sharedRouter,
      shape: [widthOf(sharedRouter)],
    },
  };
}

/** @param {Read} read @param {Config} config @param {Spelling} spelling @returns {Record<string, Rows | undefined>} */
function layerTensors(read, config, spelling) {
  const own = renamed.map(([name, names]) => {
    const rows = names.map(read).find((each) => each !== undefined);
    const [, of] = /^attn_([qk])\.(weight|bias)$/.exec(name) ?? [];
    const heads = config[of === 'q' ? 'num_attention_heads' : 'num_key_value_heads'];
    const called =
      spelling.postNorm && name === 'ffn_norm.weight' ? 'post_attention_norm.weight' : name;
    return [called, rows && of && spelling.paired ? paired(rows, heads) : rows];
  });
  return { ...Object.fromEntries(own), ...pieces(read, config), ...expertTensors(read) };
}

/**
 * @param {Read} read
 * @param {Config} config
 * @param {Spelling} spelling
 * @returns {[name: string, rows: Rows][]}
 */
export function tensorsOf(read, config, spelling) {
  const layers = Array.from({ length: config['num_hidden_layers'] }, (_, layer) =>
    Object.entries(
      layerTensors((name) => read(`model.layers.${layer}.${name}`), config, spelling),
    ).map(([name, rows]) => [`blk.${layer}.${name}`, rows]),
  );
  const all = [
    ['token_embd.weight', read('model.embed_tokens.weight')],
    ['output_norm.weight', read('model.norm.weight')],
    ['output.weight', config['tie_word_embeddings'] ? undefined : read('lm_head.weight')],
    ...layers.flat(),
  ];
  return /** @type {[string, Rows][]} */ (all.filter(([, rows]) => rows !== undefined));
}
