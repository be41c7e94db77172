import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { TensorToWrite } from '../../src/checkpoint/containers/write.js';
import { CheckpointError, MoECheckpoint, MoELayer } from '../../src/index.js';
import { type ModelFixture, modelFixtures, type Tensors } from '../fixtures/families.js';
import { writeModel } from '../fixtures/write_model.js';
import { randomValues } from '../support/layers.js';

const fixture = (name: string) =>
  modelFixtures.find((model) => model.name === name) as ModelFixture;
const qwen = fixture('qwen3_moe');

/** The model with its layers' tensors changed. */
const changed = (model: ModelFixture, change: (tensors: Tensors) => Tensors): ModelFixture => ({
  ...model,
  encode: (layer, dtype) => change(model.encode(layer, dtype)),
});

const one: TensorToWrite = { dtype: 'F32', shape: [], data: Float32Array.of(0.5) };

/** Each expert's matrices under other names and as other tensors. */
const quantized = (tensorsOf: (name: string, tensor: TensorToWrite) => Tensors): ModelFixture =>
  changed(qwen, (tensors) =>
    Object.assign(
      {},
      ...Object.entries(tensors).map(([name, tensor]) =>
        name.includes('experts.') ? tensorsOf(name, tensor) : { [name]: tensor },
      ),
    ),
  );

const packed = quantized((name, { shape: [rows = 1] }) => ({
  [`${name}_packed`]: { dtype: 'I32', shape: [rows, 1], data: new Int32Array(rows) },
  [`${name}_scale`]: { dtype: 'F32', shape: [rows, 1], data: new Float32Array(rows) },
}));
const nvfp4 = quantized((name, { shape: [rows = 1] }) => ({
  [name]: { dtype: 'U8', shape: [rows, 4], data: new Uint8Array(rows * 4) },
  [`${name}_scale`]: { dtype: 'F8_E4M3', shape: [rows, 1], data: new Uint8Array(rows) },
  [`${name}_scale_2`]: one,
}));
const fp8 = (inputScales: boolean) =>
  quantized((name, { shape: [rows = 1, columns = 1] }) => ({
    [name]: {
      dtype: 'F8_E4M3',
      shape: [rows, columns],
      data: Uint8Array.from({ length: rows * columns }, (_, i) => 40 + (i % 20)),
    },
    [`${name}_scale`]: one,
    ...(inputScales && { [name.replace(/weight$/, 'input_scale')]: one }),
  }));

const packedConfig = {
  quant_method: 'compressed-tensors',
  format: 'marlin-24',
  config_groups: { group_0: { targets: ['Linear'], weights: { num_bits: 4, type: 'int' } } },
};

describe('a quantisation that is not read is refused by its name', () => {
  test.each<[string, ModelFixture, file: string, object, RegExp]>([
    [
      'marlin of compressed-tensors',
      packed,
      'config.json',
      { ...qwen.config, quantization_config: packedConfig },
      /modelopt FP8.*got `compressed-tensors, format marlin-24`.*config\.json/,
    ],
    [
      'NVFP4 with smoothing',
      nvfp4,
      'hf_quant_config.json',
      { quantization: { quant_algo: 'NVFP4_AWQ' } },
      /got `modelopt, quant_algo NVFP4_AWQ`.*hf_quant_config\.json/,
    ],
    [
      'GPTQ',
      packed,
      'quantize_config.json',
      { bits: 3, group_size: 128 },
      /got `gptq, bits 3`.*quantize_config\.json/,
    ],
    [
      'AWQ',
      packed,
      'quant_config.json',
      { w_bit: 4, version: 'marlin' },
      /got `awq, version marlin`.*[^\w]quant_config\.json/,
    ],
    [
      'bitsandbytes',
      packed,
      'config.json',
      { ...qwen.config, quantization_config: { quant_method: 'bitsandbytes' } },
      /got `bitsandbytes`.*: take the checkpoint that it was made of/,
    ],
    [
      'MLX',
      nvfp4,
      'config.json',
      { ...qwen.config, quantization: { bits: 7, group_size: 64 } },
      /got `MLX, bits 7`/,
    ],
    [
      'fp8 of other blocks',
      fp8(false),
      'config.json',
      { ...qwen.config, quantization_config: { quant_method: 'fp8', weight_block_size: [64, 64] } },
      /got `fp8, weight_block_size 64,64`/,
    ],
  ])('%s', async (_, model, file, description, message) => {
    const { folder } = await writeModel(model);
    await writeFile(join(folder, file), JSON.stringify(description));
    const failure = await MoECheckpoint.open(folder).catch((error) => error);
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure.message).toMatch(message);
  });

  test('nor is one of which the tensors are not', async () => {
    const { folder } = await writeModel(packed);
    const awq = { quant_method: 'awq', bits: 4, group_size: 128 };
    await writeFile(
      join(folder, 'config.json'),
      JSON.stringify({ ...qwen.config, quantization_config: awq }),
    );
    await expect(MoECheckpoint.open(folder)).rejects.toThrow(
      /"compressed-tensors, packed" are not supported where no config says that they are of it/,
    );
  });

  test.each<[string, ModelFixture, RegExp]>([
    ['pack-quantized', packed, /"compressed-tensors, packed" are not supported/],
    ['NVFP4', nvfp4, /"NVFP4" are not supported/],
  ])('%s that only its tensors tell', async (_, model, message) => {
    const { folder } = await writeModel(model);
    await expect(MoECheckpoint.open(folder)).rejects.toThrow(message);
  });

  test('not where the MoE layers are floats', async () => {
    const config = { ...qwen.config, quantization_config: packedConfig };
    const { folder } = await writeModel({ ...qwen, config });
    await using layer = await MoELayer.load(folder, { layer: 0 });
    expect(layer.diagnostics).toEqual([]);
  });
});

test.each(['arctic', 'bailing_moe', 'smallthinker'])(
  'model type %s is refused by its name',
  async (model_type) => {
    const elsewhere = changed(qwen, ({ 'mlp.gate.weight': router, ...rest }) => ({
      'feed_forward.router.weight': router as TensorToWrite,
      ...rest,
    }));
    const { folder } = await writeModel({ ...elsewhere, config: { ...qwen.config, model_type } });
    await expect(MoECheckpoint.open(folder)).rejects.toThrow(
      new RegExp(
        `config\\.json: Expected \`model_type\` to be one of mixtral.*got \`${model_type}\``,
      ),
    );
  },
);

test('fp8 with static scales of activations loads, and the layer says that they have no effect', async () => {
  const quantization_config = { quant_method: 'modelopt', quant_algo: 'FP8' };
  const config = { ...qwen.config, quantization_config };
  const loadWith = async (inputScales: boolean) => {
    const { folder } = await writeModel({ ...fp8(inputScales), config });
    return MoELayer.load(folder, { layer: 0 });
  };
  await using plain = await loadWith(false);
  await using scaled = await loadWith(true);
  expect(plain.diagnostics).toEqual([]);
  expect(scaled.diagnostics).toEqual([
    expect.stringMatching(/^12 static scales of activations \(mlp\.experts.*input_scale, …\)/),
  ]);
  const hidden = randomValues(3 * qwen.sizes.H, 1);
  const { output } = await scaled.forward(hidden);
  expect(output).toEqual((await plain.forward(hidden)).output);
  expect(output.some((value) => value !== 0)).toBe(true);
});

test('a scale of activations that belongs to no weight is an error', async () => {
  const model = changed(qwen, (tensors) => ({ ...tensors, 'mlp.spice.input_scale': one }));
  const { folder } = await writeModel(model);
  await expect(MoELayer.load(folder, { layer: 0 })).rejects.toThrow(/mlp\.spice\.input_scale/);
});

describe.each(modelFixtures.map((model) => [model.name, model] as const))('%s', (_, model) => {
  const encoded = async (change: (tensors: Tensors) => Tensors) => {
    const { folder } = await writeModel(changed(model, change));
    return MoELayer.load(folder, { layer: 1 }).then(
      (layer) => layer.close(),
      (error) => error,
    );
  };

  test('no tensor can be left out', async () => {
    let names: string[] = [];
    await encoded((tensors) => {
      names = Object.keys(tensors);
      return tensors;
    });
    expect(names.length).toBeGreaterThan(2);
    for (const name of names) {
      const failure = await encoded(({ [name]: __, ...rest }) => rest);
      const code = expect.stringMatching(/^ERR_MOE_(CHECKPOINT|CONFIG)$/);
      expect([name, failure?.code]).toEqual([name, code]);
    }
  });

  test.each([
    'shared_mlp.input_linear.bias',
    'share_expert.up_proj.weight',
    'mlp.spice',
    'spice.weight',
  ])('no tensor is passed over: %s', async (name) => {
    const failure = await encoded((tensors) => ({ ...tensors, [name]: one }));
    expect(failure?.code).toBe('ERR_MOE_CHECKPOINT');
    expect(failure.message).toContain(`layers.1.${name}`);
  });

  test('attention and norms are passed over', async () => {
    const others = { 'input_layernorm.weight': one, 'self_attn.q_proj.weight_scale': one };
    expect(await encoded((tensors) => ({ ...tensors, ...others }))).toBeUndefined();
  });
});
