// What loading takes, as the system counts it.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KvType } from '../../src/binding/model.js';
import { type WeightType, weightFormatNames } from '../../src/binding/weight_formats.js';
import { type TensorToWrite, writeSafetensors } from '../../src/checkpoint/containers/write.js';
import type { LoadOptions, ModelLoadOptions } from '../../src/index.js';
import { root } from '../fixtures/command_line.js';

const [hidden, width, experts, vocabulary, layers, heads, headSize] = [512, 512, 32, 512, 2, 4, 64];
/** Of the experts of a layer as they are stored. */
const layerBytes = 2 * experts * 3 * hidden * width;

const bits = Uint16Array.from({ length: hidden * width }, (_, i) => 0x3c00 + ((i * 37) % 0x80));

/** A model of 99 MiB in bfloat16, of numbers that repeat. */
async function writeModel(folder: string): Promise<void> {
  const of = (...shape: number[]): TensorToWrite => {
    const count = shape.reduce((product, size) => product * size, 1);
    return { dtype: 'BF16', shape, data: bits.subarray(0, count) };
  };
  const tensors: Record<string, TensorToWrite> = {
    'model.embed_tokens.weight': of(vocabulary, hidden),
    'model.norm.weight': of(hidden),
    'lm_head.weight': of(vocabulary, hidden),
  };
  for (let layer = 0; layer < layers; ++layer) {
    const prefix = `model.layers.${layer}.`;
    tensors[`${prefix}input_layernorm.weight`] = of(hidden);
    tensors[`${prefix}post_attention_layernorm.weight`] = of(hidden);
    for (const name of ['q', 'k', 'v'])
      tensors[`${prefix}self_attn.${name}_proj.weight`] = of(heads * headSize, hidden);
    tensors[`${prefix}self_attn.o_proj.weight`] = of(hidden, heads * headSize);
    tensors[`${prefix}block_sparse_moe.gate.weight`] = of(experts, hidden);
    for (let expert = 0; expert < experts; ++expert)
      for (const name of ['w1', 'w2', 'w3'])
        tensors[`${prefix}block_sparse_moe.experts.${expert}.${name}.weight`] = of(width, hidden);
  }
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  const config = {
    ...{ model_type: 'mixtral', hidden_size: hidden, intermediate_size: width },
    ...{ num_local_experts: experts, num_experts_per_tok: 2, num_hidden_layers: layers },
    ...{ num_attention_heads: heads, num_key_value_heads: heads, head_dim: headSize },
    ...{ vocab_size: vocabulary, max_position_embeddings: 4096, rms_norm_eps: 1e-5 },
    ...{ rope_theta: 1e6, sliding_window: null, hidden_act: 'silu', tie_word_embeddings: false },
  };
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
}

interface Load {
  weightBytes: number;
  cacheBytes: number;
  /** Memory that is nobody else's, and the most that was resident: more than before. */
  own: number;
  peak: number;
}

async function loaded(options: ModelLoadOptions | LoadOptions): Promise<Load> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['test/fixtures/loaded_memory.mjs', folder, JSON.stringify({ device: 'cpu', ...options })],
    { cwd: root },
  );
  return JSON.parse(stdout) as Load;
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'node-moe-'));
  await writeModel(folder);
});
afterAll(() => rm(folder, { recursive: true }));

const kvTokens = 4096;
const bytesOfKv = { float32: 4, bfloat16: 2, int8: 1 };
test.each([
  ['float32', 'float32'],
  ['bfloat16', 'bfloat16'],
  ['float16', 'bfloat16'],
  ['int8', 'int8'],
  ['int4', 'int8'],
] as const satisfies [WeightType, KvType][])(
  'loading as %s takes what the weights are held in and a few of the tensors that are read',
  async (weightType, kvType) => {
    const { weightBytes, cacheBytes, own, peak } = await loaded({ weightType, kvType, kvTokens });
    const scales = kvType === 'int8' ? 4 : 0;
    const perToken = layers * heads * 2 * (headSize * bytesOfKv[kvType] + scales);
    expect(cacheBytes).toBe(kvTokens * perToken);
    expect(Math.abs(own - weightBytes)).toBeLessThan(0.1 * layerBytes);
    expect(peak).toBeLessThan(weightBytes + 0.2 * layerBytes);
  },
);

test('so does loading one layer', async () => {
  const { weightBytes, peak } = await loaded({ layer: 1, weightType: 'int4' });
  expect(peak).toBeLessThan(weightBytes + 0.2 * layerBytes);
});

test('every weight type is loaded here', () => {
  expect(weightFormatNames).toEqual(['float32', 'bfloat16', 'float16', 'int8', 'int4']);
});
