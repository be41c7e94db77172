// Models whose layers are not all of one kind.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MoECheckpoint } from '../../src/index.js';
import { nodeMoe } from '../fixtures/command_line.js';
import { type ModelFixture, modelFixtures, type Tensors } from '../fixtures/families.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { writeModel } from '../fixtures/write_model.js';

const qwen2 = modelFixtures.find(({ name }) => name === 'qwen2_moe') as ModelFixture;
const spelt = (name: string) =>
  name.replace('mlp.gate.', 'mlp.gate.wg.').replace('shared_expert.', 'shared_mlp.');
const { I } = qwen2.sizes;
const hunyuan: ModelFixture = {
  ...qwen2,
  sizes: { ...qwen2.sizes, S: I },
  parts: { gate: true },
  config: {
    ...{ model_type: 'hunyuan_v1_moe', hidden_size: 8, intermediate_size: I },
    ...{ num_hidden_layers: 2, num_experts: 4, moe_topk: [2, 3] },
  },
  encode: (layer, dtype): Tensors =>
    Object.fromEntries(
      Object.entries(qwen2.encode(layer, dtype)).map(([name, tensor]) => [spelt(name), tensor]),
    ),
};

test('each layer has its own value of a list', async () => {
  const { folder } = await writeModel(hunyuan);
  await using checkpoint = await MoECheckpoint.open(folder);
  expect(checkpoint.config.numExpertsChosen).toBe(2);
  for (const [number, chosen] of [2, 3].entries()) {
    await using layer = await checkpoint.load(number);
    expect(layer.config.numExpertsChosen).toBe(chosen);
  }
});

test('they are not packed into one file', async () => {
  const { folder } = await writeModel(hunyuan);
  const out = join(await temporaryFolder(), 'packed.safetensors');
  const { code, stderr } = await nodeMoe(['pack', folder, '--out', out]);
  expect(code).toBe(1);
  expect(stderr).toContain('got layers 0 and 1, whose options differ');
  expect((await nodeMoe(['pack', folder, '--out', out, '--layer', '1'])).code).toBe(0);
});
