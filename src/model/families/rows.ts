import type { DecoderRow, GroupedRow, LatentRow } from './row.js';

const attentionBias = { key: 'attention_bias', default: false } as const;
const plain: GroupedRow = { kind: 'grouped', bias: false, outputBias: false };
const biased: GroupedRow = { ...plain, bias: attentionBias, outputBias: attentionBias };
const latent: LatentRow = {
  kind: 'latent',
  interleaved: { key: 'rope_interleave', default: true },
};
const theta = 10000;

/** Every family of whole models. Their feed-forward parts are rows of src/families. */
export const decoderRows: readonly DecoderRow[] = [
  { modelTypes: ['mixtral'], attention: { ...plain, windows: { default: null } }, theta: 1e6 },
  {
    modelTypes: ['qwen2_moe'],
    attention: {
      ...plain,
      bias: { key: 'qkv_bias', default: true },
      windows: {
        default: 4096,
        asked: true,
        byType: true,
        even: true,
        side: { of: 'before', default: 28 },
      },
    },
    theta,
  },
  {
    modelTypes: ['qwen3_moe'],
    attention: { ...biased, norm: 'each_head', windows: { default: 4096, asked: true } },
    theta,
    says: { use_qk_norm: [true] },
  },
  {
    modelTypes: ['olmoe'],
    attention: { ...biased, norm: 'whole_row', clip: 'clip_qkv' },
    theta,
  },
  {
    modelTypes: ['deepseek_v2'],
    attention: { ...latent, interleaved: true },
    theta,
    says: { rope_interleave: [true] },
  },
  {
    modelTypes: ['deepseek_v3', 'kimi_k2', 'glm4_moe_lite'],
    attention: latent,
    theta,
  },
  {
    modelTypes: ['glm4_moe'],
    attention: {
      ...plain,
      bias: attentionBias,
      norm: { key: 'use_qk_norm', is: 'each_head' },
      rotatedPart: 0.5,
    },
    theta,
  },
  {
    modelTypes: ['dots1'],
    attention: {
      ...biased,
      norm: 'each_head',
      windows: { default: 4096, byType: true, side: { of: 'behind', default: 62 } },
    },
    theta,
    says: { use_qk_norm: [true] },
  },
  {
    modelTypes: ['gpt_oss'],
    attention: {
      ...biased,
      bias: { key: 'attention_bias', default: true },
      outputBias: { key: 'attention_bias', default: true },
      sinks: true,
      windows: { default: 128, byType: true, even: true },
    },
    theta: 150000,
    rope: {
      ...{ rope_type: 'yarn', factor: 32, beta_fast: 32, beta_slow: 1, truncate: false },
      original_max_position_embeddings: 4096,
    },
  },
  {
    modelTypes: ['granitemoe', 'granitemoeshared'],
    attention: { ...biased, scale: { key: 'attention_multiplier', default: 1 } },
    theta,
    factors: true,
  },
];

export const decoderTypes: readonly string[] = decoderRows.flatMap(({ modelTypes }) => modelTypes);
