import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { checkpointOf, ggufOf } from '../../bench/models/files.mjs';
import {
  cachedPerToken,
  modelNames,
  modelOf,
  weightsPerToken,
} from '../../bench/models/shapes.mjs';
import { modelTable } from '../../scripts/performance/tables.mjs';
import { MoEModel } from '../../src/index.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

const small = (name: string) =>
  modelOf(name, 2, {
    ...{ hidden_size: 64, intermediate_size: 32, num_experts: 4, num_experts_per_tok: 2 },
    ...(name.startsWith('qwen') && { moe_intermediate_size: 32 }),
    ...{ num_attention_heads: 2, num_key_value_heads: 1, vocab_size: 320 },
  });

test.each(modelNames)('%s is a model, and in GGUF files the same one', async (name) => {
  const folder = await temporaryFolder();
  const model = small(name);
  const path = await checkpointOf(model, folder);
  await using loaded = await MoEModel.load(path, { threads: 1, kvTokens: 64, contextLength: 64 });
  const { tokens } = await loaded.complete({ tokens: [1, 2, 3], maxTokens: 3, temperature: 0 });
  expect(tokens.length).toBe(3);

  const gguf = await readFile(await ggufOf(model, 'BF16', folder));
  const checkpoint = await readFile(`${path}/model.safetensors`);
  const headerBytes = Number(checkpoint.readBigUInt64LE());
  const header = JSON.parse(checkpoint.subarray(8, 8 + headerBytes).toString());
  const tensor = (of: string) => {
    const [begin, end] = header[of].data_offsets;
    return checkpoint.subarray(8 + headerBytes + begin, 8 + headerBytes + end);
  };
  // Experts stand one behind the other.
  const experts = [0, 1, 2, 3].map((e) => tensor(`model.layers.1.mlp.experts.${e}.up_proj.weight`));
  expect(gguf.includes(Buffer.concat(experts))).toBe(true);
  expect(gguf.includes(tensor('model.layers.0.self_attn.v_proj.weight'))).toBe(true);
  expect(new Set(experts.map((each) => each.toString('hex'))).size).toBe(4);
  expect(gguf.includes('blk.1.ffn_up_exps.weight')).toBe(true);
  expect(gguf.length).toBeGreaterThan(checkpoint.length - headerBytes);
});

test('what a token reads is what the model has of it', () => {
  const model = small('qwen3-30b-a3b');
  // Queries and output, keys and values, two of four experts, the head; norms and router.
  const layer = 2 * 64 * 256 + 2 * 64 * 128 + 2 * 3 * 64 * 32;
  const plain = 2 * (2 * 64 + 2 * 128 + 4 * 64) + 64;
  expect(weightsPerToken(model)).toEqual({ held: 2 * layer + 320 * 64, plain });
  expect(cachedPerToken(model)).toBe(2 * 2 * 128);
});

test('the faster way of llama.cpp counts, on the page', () => {
  const peers = [
    { flash: 'plain', tokensPerSecond: 10, ratio: 4 },
    { flash: 'flash', tokensPerSecond: 20, ratio: 2 },
  ];
  const one = (name: string, more: object) => ({
    ...{ name, weightType: 'int4', nodeMoe: { tokensPerSecond: 40 }, peers, ...more },
  });
  const table = modelTable([
    one('sequences 1', { bandwidthFraction: 0.8 }),
    one('prompt 16', { peers: [{ ...peers[1], ratio: null }] }),
  ]);
  expect(table.split('\n')).toEqual([
    '| weights | prompt 16 | sequences 1 |',
    '| --- | --- | --- |',
    '| int4 | 40.0 (disturbed) | 40.0 (2.00x), 80 % |',
  ]);
});
