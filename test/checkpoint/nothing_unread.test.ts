// Nothing that a checkpoint says of a block is passed over: without a tensor or with another value of a key, the result is
// another one or an error.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type TensorToWrite, writeSafetensors } from '../../src/checkpoint/containers/write.js';
import { blockKeys } from '../../src/families/keys.js';
import { CheckpointError, ConfigError, MoECheckpoint } from '../../src/index.js';
import { type ModelFixture, modelFixtures, type Tensors } from '../fixtures/families.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { modelTensors, randomLayers } from '../fixtures/write_model.js';
import { randomValues } from '../support/layers.js';

type Config = Record<string, unknown>;

const tensorsOf = (model: ModelFixture): Tensors =>
  Object.assign({}, ...modelTensors(model, randomLayers(model), model.dtype));

async function write(tensors: Tensors, config: Config, folder?: string): Promise<string> {
  const to = folder ?? (await temporaryFolder());
  await writeFile(join(to, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(to, 'model.safetensors'), tensors);
  return to;
}

const isOurs = (error: unknown): error is Error =>
  error instanceof CheckpointError || error instanceof ConfigError;

/** What the first MoE layer makes of some rows and of its config, or the error that loading it ends with. */
async function outcome(folder: string, model: ModelFixture) {
  try {
    await using checkpoint = await MoECheckpoint.open(folder);
    await using layer = await checkpoint.load(model.layers[0], { weightType: 'float32' });
    const { output } = await layer.forward(randomValues(64 * model.sizes.H, 5));
    const { activation, config } = layer;
    return { output: [...output], meaning: JSON.stringify({ activation, config }) };
  } catch (error) {
    if (!isOurs(error)) throw error;
    return error;
  }
}

/** Another value of the same type. gpt-oss' rows do not come near its limit of 7. */
function otherThan(value: unknown, key: string): unknown {
  if (key === 'swiglu_limit') return 0.25;
  if (typeof value === 'number') return value + 1;
  if (typeof value === 'boolean') return !value;
  return 'something else';
}

/** Keys that say which layers have a block, or are of dense layers. */
const notOfTheBlock = [
  'num_hidden_layers',
  'first_k_dense_replace',
  'decoder_sparse_step',
  'mlp_only_layers',
];
const ofTheBlock = ({ config }: ModelFixture) =>
  Object.keys(config).filter(
    (key) =>
      !notOfTheBlock.includes(key) &&
      !(key === 'intermediate_size' && 'moe_intermediate_size' in config),
  );

describe.each(modelFixtures.map((model) => [model.name, model] as const))('%s', (_, model) => {
  const isOfLayer = (name: string) =>
    name.startsWith(`${model.root}layers.${model.layers[0]}.`) && !name.includes('self_attn');

  test('no tensor may be missing', async () => {
    const tensors = tensorsOf(model);
    const folder = await temporaryFolder();
    for (const name of Object.keys(tensors).filter(isOfLayer)) {
      const { [name]: _, ...others } = tensors;
      await write(others, model.config, folder);
      const result = await outcome(folder, model);
      // Without its router a layer is no MoE layer, and another one is the first.
      expect
        .soft(isOurs(result), `without ${name}: ${JSON.stringify(result).slice(0, 90)}`)
        .toBe(true);
    }
  });

  test.each([
    'shared_mlp.input_linear.weight',
    'share_expert.up_proj.weight',
    'experts.extra',
    'mlp2.weight',
  ])('a tensor that nobody reads, %s, is an error that names it', async (extra) => {
    const tensors = tensorsOf(model);
    const name = `${model.root}layers.${model.layers[0]}.${extra}`;
    const { [name]: own, ...others } = tensors;
    if (own !== undefined) return expect(own).toBeDefined();
    const stray: TensorToWrite = { dtype: 'F32', shape: [1], data: new Float32Array(1) };
    const result = await outcome(await write({ ...others, [name]: stray }, model.config), model);
    expect(result).toBeInstanceOf(CheckpointError);
    expect((result as Error).message).toContain(name);
  });

  test('no key of the config is passed over', async () => {
    const folder = await write(tensorsOf(model), model.config);
    const right = await outcome(folder, model);
    if (isOurs(right)) throw right;
    const changed = async (config: Config) => {
      await writeFile(join(folder, 'config.json'), JSON.stringify(config));
      return outcome(folder, model);
    };
    for (const key of ofTheBlock(model)) {
      const value = model.config[key];
      const other = await changed({ ...model.config, [key]: otherThan(value, key) });
      expect.soft(isOurs(other) || other.output, `${key} changed`).not.toEqual(right.output);
      const { [key]: _, ...without } = model.config;
      const absent = await changed(without);
      // What the class takes where the key is absent may be what the key said.
      if (!isOurs(absent) && absent.meaning !== right.meaning)
        expect.soft(absent.output, `without ${key}`).not.toEqual(right.output);
    }
  });

  test('a key that changes the block of other models is an error or has its effect', async () => {
    if (model.name.startsWith('mindformers'))
      return expect(model.config['model_type']).toBeUndefined();
    const folder = await write(tensorsOf(model), model.config);
    const right = await outcome(folder, model);
    if (isOurs(right)) throw right;
    for (const [key, neutral] of blockKeys) {
      if (key in model.config) continue;
      const value =
        typeof neutral[0] === 'boolean'
          ? !neutral[0]
          : typeof neutral[0] === 'string'
            ? 'other'
            : 3;
      await writeFile(
        join(folder, 'config.json'),
        JSON.stringify({ ...model.config, [key]: value }),
      );
      const result = await outcome(folder, model);
      expect.soft(isOurs(result) || result.output, key).not.toEqual(right.output);
      if (result instanceof ConfigError) expect.soft(result.message).toContain(key);
    }
  });
});

test('an expert beside the block is added to what the experts give', async () => {
  const model = modelFixtures.find(
    ({ name }) => name === 'granitemoe, with a shared expert',
  ) as ModelFixture;
  const tensors = tensorsOf(model);
  const zeros = Object.entries(tensors).map(([name, tensor]) =>
    name.includes('shared_mlp')
      ? [name, { ...tensor, data: new Uint8Array(tensor.data.byteLength) }]
      : [name, tensor],
  );
  const [all, routed] = await Promise.all(
    [tensors, Object.fromEntries(zeros) as Tensors].map(async (each) =>
      outcome(await write(each, model.config), model),
    ),
  );
  expect(all).not.toEqual(routed);
});
