import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeGguf } from '../../bench/gguf/write.mjs';
import { MoECheckpoint } from '../../src/checkpoint/checkpoint.js';
import { type ModelFacts, modelFacts } from '../../src/cli/inspect_model.js';
import { typesOf, typesText } from '../../src/cli/inspect_types.js';
import { modelReport } from '../../src/cli/model_report.js';
import { MoEModel } from '../../src/model/model.js';
import { nodeMoeJson, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { writtenModel } from '../model/fixture.js';
import { modelFixtures } from '../model/fixtures.js';
import { ggufOf } from '../witness/llama.js';
import { type WitnessModel, witnessModels } from '../witness/models.js';

async function factsOf(folder: string): Promise<ModelFacts> {
  await using checkpoint = await MoECheckpoint.open(folder);
  return await modelFacts(checkpoint);
}

const fixtureOf = (name: string) => {
  const found = modelFixtures.find((fixture) => fixture.name.startsWith(name));
  if (found === undefined) throw new Error(`no fixture ${name}`);
  return found;
};

test('a whole model is told with its sizes, its text and its memory', async () => {
  const { runs, reason, description } = await factsOf(tinyMixtral);
  expect([runs, reason]).toEqual([true, null]);
  expect(description).toMatchObject({
    modelType: 'mixtral',
    layers: 4,
    denseLayers: [],
    attention: [{ layers: [0, 1, 2, 3], kind: 'grouped', heads: 4, kvHeads: 2, headSize: 32 }],
    positions: [{ type: 'default', theta: 10000 }],
    contextLength: 192,
    tokenizer: { kind: 'BPE of bytes', size: 256, special: [] },
    generation: { endTokens: [] },
  });
  await using model = await MoEModel.load(tinyMixtral, { weightType: 'int4', kvType: 'int8' });
  const { weightBytes, kvBytesPerToken } = description as NonNullable<typeof description>;
  expect(model.weightBytes / weightBytes.int4).toBeCloseTo(1, 1);
  expect(model.cacheBytes).toBe(model.inUse().kvTokens * kvBytesPerToken.int8);
});

test('a model of quantised weights is told as it is held', async () => {
  const qwen = witnessModels.find(({ name }) => name === 'qwen3_moe') as WitnessModel;
  const { metadata, tensors } = ggufOf(qwen, 'Q4_0');
  const path = join(await temporaryFolder(), 'model.gguf');
  await writeGguf(path, metadata, tensors);
  const told = await factsOf(path);
  await using model = await MoEModel.load(path, { device: 'cpu' });
  const { weightBytes, embeddingBytes } = told.asStored as NonNullable<typeof told.asStored>;
  // Panels and vectors are padded, much in so small a model.
  expect(weightBytes / model.weightBytes).toBeGreaterThan(0.8);
  expect(weightBytes / model.weightBytes).toBeLessThan(1);
  expect(told.description?.weightBytes.published).toBe(weightBytes);
  expect(modelReport(told)).toMatch(/published +\d/);
  const embedding = tensors.find(({ name }) => name === 'token_embd.weight');
  const [rows = 0, width = 0] = embedding?.shape ?? [];
  expect(embeddingBytes).toBe((rows * width * 18) / 32);
  expect(modelReport(told)).toMatch(/as stored +\d/);
});

test('a packed model is told as it is packed', async () => {
  const out = join(await temporaryFolder(), 'packed');
  await nodeMoeJson(['pack', tinyMixtral, '--out', out, '--weight-type', 'int8']);
  const told = await factsOf(out);
  await using model = await MoEModel.load(out);
  expect(told).toMatchObject({
    packed: true,
    asStored: { weightBytes: model.weightBytes, embeddingBytes: 2 * 256 * 128 },
  });
  const report = modelReport(told);
  expect(report).toMatch(/as packed +\d/);
  expect(report).not.toMatch(/int4 +\d|as stored/);
});

test('kinds of attention come with their layers', async () => {
  const windows = await factsOf(await writtenModel(fixtureOf('gpt_oss, sinks')));
  expect(windows.description?.attention).toMatchObject([
    { layers: [0, 2], window: expect.any(Number) },
    { layers: [1], window: null },
  ]);
  expect(modelReport(windows)).toMatch(/window of \d+ tokens; layers 0, 2/);
  const latent = await factsOf(await writtenModel(fixtureOf('deepseek_v3, yarn')));
  expect(latent.description).toMatchObject({
    denseLayers: expect.arrayContaining([0]),
    attention: [{ kind: 'latent', latentSize: expect.any(Number) }],
    positions: [{ type: 'yarn' }],
  });
  expect(modelReport(latent)).toMatch(/latent row of \d+/);
});

test('what writes chats tells of calls and reasoning', async () => {
  const folder = await temporaryFolder();
  for (const name of ['config.json', 'model.safetensors', 'tokenizer.json'])
    await copyFile(join(tinyMixtral, name), join(folder, name));
  const template = '{{ "<tool_call>" }}{{ message.split("</think>") }}';
  await writeFile(join(folder, 'chat_template.jinja'), template);
  const generation = { temperature: 0.6, top_k: 20, eos_token_id: [3, 7] };
  await writeFile(join(folder, 'generation_config.json'), JSON.stringify(generation));
  const facts = await factsOf(folder);
  expect(facts.description).toMatchObject({
    chat: { toolCalls: 'Hermes, Qwen or GLM', reasoning: 'between <think> and </think>' },
    generation: { endTokens: [3, 7], temperature: 0.6, topK: 20 },
  });
  expect(modelReport(facts)).toContain('temperature 0.6, topK 20, ends with 3, 7');
});

test('a model that cannot be run says why, with what is known of it all the same', async () => {
  const { tensors, config } = fixtureOf('qwen3_moe, yarn');
  const { 'model.norm.weight': _, ...others } = tensors;
  const incomplete = await factsOf(await writtenModel({ config, tensors: others }));
  expect(incomplete.runs).toBe(false);
  expect(incomplete.reason).toContain('model.norm.weight');
  expect(incomplete.description?.parameters).toBeGreaterThan(0);
  expect(modelReport(incomplete)).toMatch(/can be run +no: /);
  const dynamic = { ...config, rope_scaling: { rope_type: 'dynamic', factor: 2 } };
  const turning = await factsOf(await writtenModel({ config: dynamic, tensors }));
  expect(turning).toMatchObject({ runs: false, description: null });
  expect(turning.reason).toContain('dynamic');
});

test('layers without a config are no whole model', async () => {
  const folder = await temporaryFolder();
  await copyFile(join(tinyMixtral, 'model.safetensors'), join(folder, 'model.safetensors'));
  const { runs, reason } = await factsOf(join(folder, 'model.safetensors'));
  expect(runs).toBe(false);
  expect(reason).toContain('config.json');
});

test('tensors of a GGUF file are told by their own names, types by the layers that have them', async () => {
  const { metadata, tensors } = ggufOf(
    witnessModels.find(({ name }) => name === 'mixtral') as WitnessModel,
    'Q8_0',
  );
  const plain = 'blk.1.ffn_down_exps.weight';
  const path = join(await temporaryFolder(), 'model.gguf');
  await writeGguf(
    path,
    metadata,
    tensors.map((tensor) => (tensor.name === plain ? { ...tensor, type: 'Q4_0' } : tensor)),
  );
  await using checkpoint = await MoECheckpoint.open(path);
  const kinds = typesOf(await checkpoint.tensors.entries());
  const layers = [...checkpoint.layers];
  expect(kinds).toContainEqual({
    tensor: 'blk.*.ffn_down_exps.weight',
    types: [
      { dtype: 'Q8_0', layers: layers.filter((layer) => layer !== 1) },
      { dtype: 'Q4_0', layers: [1] },
    ],
  });
  expect(kinds).toContainEqual({
    tensor: 'output_norm.weight',
    types: [{ dtype: 'F32', layers: [] }],
  });
  expect(typesText(kinds)).toMatch(
    new RegExp(
      `Q8_0 in ${layers.length - 1} layers, Q4_0 in 1 +blk\\.\\*\\.ffn_down_exps\\.weight`,
    ),
  );
});
