import { expect, test } from 'vitest';
import { ggufModel } from '../../bench/gguf/model.mjs';
import { decoderTypes } from '../../src/model/families/rows.js';
import type { Block } from '../families/reference/block.js';
import type { DecoderLayer, GroupedAttention, LatentAttention } from '../reference/decoder.js';
import { decodedGguf } from '../support/gguf_types.js';
import { ggufOf } from '../witness/llama.js';
import { witnessModels } from '../witness/models.js';

function converted(name: string) {
  const model = witnessModels.find((each) => each.name === name);
  if (model === undefined) throw new Error(`no model ${name}`);
  const { metadata, tensors } = ggufOf(model, 'F32');
  const rowsOf = (tensorName: string) => {
    const tensor = tensors.find((each) => each.name === tensorName);
    const rows = [...(tensor?.rows() ?? [])];
    return rows.map((row) => [...(row instanceof Float32Array ? row : decodedGguf('MXFP4', row))]);
  };
  return { metadata, rowsOf, layers: model.decoder.layers as readonly DecoderLayer[] };
}

/** Long ones differ from short ones in their length alone. */
const models = witnessModels.filter(({ exact, decoder }) => exact && decoder.layers.length < 10);

test.each(models.map((model) => [model.name, model] as const))(
  '%s: every value of a checkpoint is written once',
  (_, model) => {
    const { tensors } = ggufOf(model, 'F32');
    const written = tensors.flatMap(({ rows }) => [...rows()] as Float32Array[]);
    const stored = Object.values(model.tensors).map(({ data }) => data as Float32Array);
    const sorted = (parts: readonly Float32Array[]) =>
      Float32Array.from(parts.flatMap((part) => [...part])).sort();
    expect(Buffer.compare(bytesOf(sorted(written)), bytesOf(sorted(stored)))).toBe(0);
    expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length);
  },
);

const bytesOf = ({ buffer }: Float32Array) => new Uint8Array(buffer);

test('every family of whole models that llama.cpp has is in what it witnesses', () => {
  const missingThere: readonly string[] = [];
  const types = new Set(witnessModels.map(({ config }) => config['model_type']));
  expect(decoderTypes.filter((type) => !types.has(type))).toEqual(missingThere);
});

test('metadata has the sizes of the config by their names in GGUF', () => {
  expect(converted('qwen3_moe, yarn').metadata).toEqual({
    'general.architecture': ['string', 'qwen3moe'],
    'qwen3moe.vocab_size': ['u32', 64],
    'qwen3moe.context_length': ['u32', 128],
    'qwen3moe.embedding_length': ['u32', 64],
    'qwen3moe.block_count': ['u32', 3],
    'qwen3moe.feed_forward_length': ['u32', 96],
    'qwen3moe.attention.head_count': ['u32', 4],
    'qwen3moe.attention.head_count_kv': ['u32', 2],
    'qwen3moe.attention.key_length': ['u32', 32],
    'qwen3moe.attention.value_length': ['u32', 32],
    'qwen3moe.attention.layer_norm_rms_epsilon': ['f32', 1e-5],
    'qwen3moe.expert_count': ['u32', 8],
    'qwen3moe.expert_used_count': ['u32', 3],
    'qwen3moe.expert_feed_forward_length': ['u32', 32],
    'qwen3moe.expert_weights_norm': ['bool', true],
    'qwen3moe.rope.freq_base': ['f32', 500],
    'qwen3moe.rope.scaling.type': ['string', 'yarn'],
    'qwen3moe.rope.scaling.factor': ['f32', 4],
    'qwen3moe.rope.scaling.original_context_length': ['u32', 32],
    'tokenizer.ggml.model': ['string', 'none'],
  });
});

test('rows of queries that rotate half a head apart are moved side by side', () => {
  const { rowsOf, layers } = converted('mixtral');
  const { query } = (layers[1] as DecoderLayer).attention as GroupedAttention;
  const moved = rowsOf('blk.1.attn_q.weight');
  for (let head = 0; head < 4; head++)
    for (let i = 0; i < 8; i++) {
      expect(moved[16 * head + 2 * i]).toEqual(query[16 * head + i]);
      expect(moved[16 * head + 2 * i + 1]).toEqual(query[16 * head + 8 + i]);
    }
});

test('what latent rows become is cut by head, keys turned', () => {
  const { rowsOf, layers } = converted('deepseek_v2');
  const { latentUp } = (layers[2] as DecoderLayer).attention as LatentAttention;
  const [keys, values] = [rowsOf('blk.2.attn_k_b.weight'), rowsOf('blk.2.attn_v_b.weight')];
  expect([keys.length, values.length]).toEqual([128, 128]);
  for (let head = 0; head < 4; head++)
    for (let i = 0; i < 32; i++) {
      const own = latentUp.slice(64 * head, 64 * head + 32);
      expect(keys[32 * head + i]).toEqual(own.map((row) => row[i]));
      expect(values[32 * head + i]).toEqual(latentUp[64 * head + 32 + i]);
    }
});

test.each(['gpt_oss', 'gpt_oss, MXFP4', 'granitemoe', 'mixtral', 'qwen2_moe'])(
  '%s: experts are stacked, gates apart from ups',
  (name) => {
    const model = converted(name);
    const { experts } = ((model.layers[2] as DecoderLayer).feedForward as { block: Block }).block;
    const stacked = (part: 'gate' | 'up' | 'down') => model.rowsOf(`blk.2.ffn_${part}_exps.weight`);
    for (const part of ['gate', 'up', 'down'] as const)
      expect(stacked(part)).toEqual(experts.flatMap((expert) => expert[part]));
    if (name.startsWith('gpt_oss'))
      expect(model.rowsOf('blk.2.ffn_up_exps.bias')).toEqual(experts.map(({ upBias }) => upBias));
  },
);

test('what llama.cpp does not have is refused', () => {
  const none = () => undefined;
  expect(() => ggufModel({ model_type: 'phimoe' }, none, 'F32')).toThrow(
    'Expected `model_type` to be one of mixtral, olmoe',
  );
  const longrope = { model_type: 'olmoe', rope_scaling: { type: 'longrope' } };
  expect(() => ggufModel(longrope, none, 'F32')).toThrow('default, linear or yarn, got longrope');
});
