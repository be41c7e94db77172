// Whole models whose matrices are quantised: attention, dense layers, experts and the output head.
import { expect, test } from 'vitest';
import { quantised, quantisedFormats } from '../fixtures/quantised.js';
import { writtenModel } from './fixture.js';
import { modelFixtures } from './fixtures.js';
import { logitsOf, textOf, withModel } from './running.js';

const options = {
  weightType: 'float32',
  outputType: 'float32',
  kvType: 'float32',
  threads: 1,
  device: 'cpu',
} as const;
const tokens = textOf(20);

test.each([
  ['qwen2_moe, biases', 'GPTQ, an order of inputs'],
  ['qwen2_moe, biases', 'AWQ'],
  ['deepseek_v3, halves, biases, yarn by two scales', 'compressed-tensors int4'],
  ['deepseek_v3, halves, biases, yarn by two scales', 'ModelOpt NVFP4'],
  ['mixtral, as published', 'compressed-tensors float-quantized by channel'],
])('%s in %s has the logits of the values', async (model, format) => {
  const fixture = modelFixtures.find(({ name }) => name === model);
  const chosen = quantisedFormats.find(({ name }) => name === format);
  if (fixture === undefined || chosen === undefined) throw new Error('no fixture');
  const isMeant = (name: string) => /(proj|with_mqa|\.w\d|lm_head)\.weight$/.test(name);
  const { stored, plain } = quantised(chosen, fixture.tensors, isMeant);
  const config = {
    ...fixture.config,
    quantization_config: { ...chosen.config, ignore: [], modules_to_not_convert: [] },
  };
  const logitsIn = (folder: string) =>
    withModel(folder, options, (loaded) => logitsOf(loaded, tokens));
  const logits = await logitsIn(await writtenModel({ config, tensors: stored }));
  expect(logits).toEqual(await logitsIn(await writtenModel({ ...fixture, tensors: plain })));
  expect(logits.every(Number.isFinite) && new Set(logits).size > tokens.length).toBe(true);
});
