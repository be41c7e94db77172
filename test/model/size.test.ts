import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeGguf } from '../../bench/gguf/write.mjs';
import { deviceAt, resolveDevice } from '../../src/binding/devices.js';
import { MoECheckpoint } from '../../src/checkpoint/checkpoint.js';
import { TensorFiles } from '../../src/checkpoint/containers/tensor_files.js';
import { type KnownModelName, knownModels } from '../../src/cli/bench/known_models.js';
import { readHuggingFace } from '../../src/config/hugging_face.js';
import { weightFormatNames } from '../../src/layer/options.js';
import { describeModel } from '../../src/model/describe.js';
import { madeUpSize } from '../../src/model/foretell.js';
import { loadModel, readDescription } from '../../src/model/load.js';
import { loadMadeUp } from '../../src/model/load_made_up.js';
import { ModelTensors } from '../../src/model/model_tensors.js';
import { kvTypes } from '../../src/model/options.js';
import { kvBytesPerToken, ModelSize } from '../../src/model/size.js';
import * as published from '../config/model_configs.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { ggufOf } from '../witness/llama.js';
import { type WitnessModel, witnessModels } from '../witness/models.js';
import { writtenModel } from './fixture.js';
import { modelFixtures } from './fixtures.js';

const held = deviceAt(resolveDevice('cpu'))?.weights;

test.each(modelFixtures)(
  'what a config says of the size of $name is what its files hold, and what is loaded',
  async (fixture) => {
    const folder = await writtenModel(fixture);
    const { config, description } = await readDescription(
      await TensorFiles.open(folder),
      fixture.options,
    );
    const checkpoint = await MoECheckpoint.open(folder);
    const [stored, madeUp] = await Promise.all([
      ModelSize.of(checkpoint, new ModelTensors(checkpoint, description), description),
      madeUpSize(config, description),
    ]);
    expect(madeUp.parameters).toBe(stored.parameters);
    expect(madeUp.activeParameters).toBe(stored.activeParameters);
    const options = { ...fixture.options, weightType: 'float32' } as const;
    expect(madeUp.weightBytes(options, held)).toEqual(stored.weightBytes(options, held));
    await checkpoint.close();
    for (const kvType of kvTypes) {
      const { native, close } = await loadModel(folder, { ...options, kvType, kvTokens: 160 });
      expect(native.cacheBytes).toBe(160 * kvBytesPerToken(description, kvType));
      await close();
    }
  },
);

/** Sizes that no panel of a packed matrix is too large for. */
const small = {
  ...{ hidden_size: 256, intermediate_size: 256, moe_intermediate_size: 128, vocab_size: 1024 },
  ...{ num_hidden_layers: 2, num_attention_heads: 4, head_dim: 64, num_key_value_heads: 2 },
};
const { 'qwen3-30b-a3b': qwen3, 'deepseek-v3': deepSeek, 'gpt-oss-20b': gptOss } = knownModels;
const models = {
  qwen3: { ...qwen3, ...small },
  deepSeek: { ...deepSeek, ...small, head_dim: 64, first_k_dense_replace: 1, q_lora_rank: 128 },
  gptOss: { ...gptOss, ...small, moe_intermediate_size: undefined },
};
test.each(
  Object.entries(models).flatMap(([name, config]) =>
    weightFormatNames.map((weightType) => ({ name, config, weightType })),
  ),
)('$name in $weightType weighs what was foretold', async ({ config, weightType }) => {
  const { description, native, close } = await loadMadeUp(config, { weightType, kvTokens: 16 });
  const size = await madeUpSize(config, description);
  const { held: bytes } = size.weightBytes({ weightType }, held);
  expect(bytes / native.weightBytes).toBeGreaterThan(0.99);
  expect(bytes / native.weightBytes).toBeLessThan(1.01);
  await close();
});

test('layers that are published in several types weigh what each of them is', async () => {
  const qwen = witnessModels.find(({ name }) => name === 'qwen3_moe') as WitnessModel;
  const { metadata, tensors } = ggufOf(qwen, 'Q4_0');
  const path = join(await temporaryFolder(), 'model.gguf');
  const first = ggufOf(qwen, 'F32').tensors.filter(({ name }) => name.startsWith('blk.0.ffn'));
  const names = new Set(first.map(({ name }) => name));
  await writeGguf(path, metadata, [...first, ...tensors.filter(({ name }) => !names.has(name))]);
  await using checkpoint = await MoECheckpoint.open(path);
  const { description } = await readDescription(checkpoint.tensors);
  const source = new ModelTensors(checkpoint, description);
  const size = await ModelSize.of(checkpoint, source, description);
  const bytes = size.weightBytes({}, held).held;
  const { native, close } = await loadModel(path, { device: 'cpu' });
  // Vectors and biases are padded.
  expect(bytes / native.weightBytes).toBeGreaterThan(0.9);
  expect(bytes / native.weightBytes).toBeLessThan(1);
  await close();
});

/** Billions of parameters, all and those that a token meets, as the models' makers say them; some leave the embedding out. */
const said: Record<KnownModelName, [all: number, active: number]> = {
  'mixtral-8x7b': [46.7, 12.9],
  'mixtral-8x22b': [141, 39],
  'qwen1.5-moe-a2.7b': [14.3, 2.7],
  'qwen2-57b-a14b': [57.4, 14],
  'qwen3-30b-a3b': [30.5, 3.3],
  'qwen3-235b-a22b': [235, 22],
  'olmoe-1b-7b': [6.9, 1.3],
  'deepseek-v2-lite': [15.7, 2.4],
  'deepseek-v2': [236, 21],
  'deepseek-v3': [671, 37],
  'kimi-k2': [1030, 32],
  'glm-4.5': [355, 32],
  'glm-4.5-air': [106, 12],
  dots1: [142.8, 14],
  'gpt-oss-20b': [20.9, 3.6],
  'gpt-oss-120b': [116.8, 5.1],
  'granite-3.0-1b-a400m': [1.33, 0.4],
  'granite-3.0-3b-a800m': [3.3, 0.8],
};
test.each(Object.entries(knownModels) as [KnownModelName, object][])(
  '%s is as large as its maker says',
  async (name, config) => {
    const description = describeModel(config);
    const size = await madeUpSize(config, description);
    const [all, active] = said[name];
    expect(Math.abs(size.parameters / 1e9 / all - 1)).toBeLessThan(0.01);
    expect(Math.abs(size.activeParameters / 1e9 / active - 1)).toBeLessThan(0.17);
  },
);

/** Known models of which the repository has the whole `config.json`. */
const whole: Partial<Record<KnownModelName, published.ModelConfig>> = {
  'mixtral-8x7b': published.mixtral,
  'qwen1.5-moe-a2.7b': published.qwen2,
  'qwen3-30b-a3b': published.qwen3,
  'olmoe-1b-7b': published.olmoe,
  'deepseek-v2-lite': published.deepseekV2Lite,
  'deepseek-v2': published.deepseekV2,
  'deepseek-v3': published.deepseekV3,
  'glm-4.5-air': published.glm4,
  dots1: published.dots1,
  'gpt-oss-20b': published.gptOss,
  'granite-3.0-1b-a400m': published.granite1b,
  'granite-3.0-3b-a800m': published.granite,
};
test.each(Object.entries(whole))(
  'what is known of %s is what its config.json says',
  (name, config) => {
    const known = knownModels[name as KnownModelName];
    const described = (of: object) => {
      const { modelType, spec, layers, tied } = describeModel(of);
      const { sizes, options, ofLayer } = readHuggingFace(of, { layer: layers.length - 1 });
      return { modelType, spec, layers, tied, sizes, options, ofLayer };
    };
    expect(described(known)).toEqual(described(config));
  },
);
