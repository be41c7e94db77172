// Nothing that a family's checkpoint says of a block is passed over: without a tensor or a key, and with another value of
// either, the outcome is another one or an error.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeSafetensors, type TensorToWrite } from '../../src/checkpoint/containers/write.js';
import { MoEError } from '../../src/index.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import {
  changed,
  changedAt,
  otherThan,
  otherValues,
  type Path,
  pathsOf,
  valueAt,
} from './changes.js';
import { type Config, type Fixture, writeFixture } from './fixture.js';
import { fixtures } from './fixtures/all.js';
import { batches, load, outputOf } from './loading.js';
import type { Block } from './reference/block.js';
import type { Tensors } from './spelling.js';

/** Keys without an effect on what a block computes, by the reason. */
const withoutEffect: Readonly<Record<string, readonly string[]>> = {
  'another part of the model': [
    ...['vision_config', 'audio_config', 'code_predictor_config', 'image_token_id'],
    ...['vocab_size', 'num_attention_heads', 'num_key_value_heads', 'n_heads'],
    ...['max_position_embeddings', 'rope_theta', 'tie_word_embeddings', 'layer_types'],
  ],
  'what the caller does around the block': [
    ...['rms_norm_eps', 'residual_multiplier', 'mlp_alpha_factor', 'mlp_beta_factor'],
  ],
  'dense layers': [
    ...['dense_intermediate_size', 'intermediate_size_mlp', 'prefix_dense_intermediate_size'],
  ],
  training: ['initializer_range', 'input_jitter_noise'],
  'sums are float32 always': ['enable_moe_fp32_combine'],
  'which layers have a block: their tensors say it': [
    ...['num_hidden_layers', 'num_layers', 'n_layers', 'encoder_layers', 'decoder_layers'],
    ...['num_nextn_predict_layers', 'first_k_dense_replace', 'num_dense_layers', 'dense_mlp_idx'],
    ...['mlp_only_layers', 'mlp_layer_types', 'moe_layer_freq', 'moe_layers', 'moe_layers_enum'],
    ...['moe_layer_start_index', 'moe_layer_end_index'],
    ...['expert_layer_period', 'expert_layer_offset'],
    ...['decoder_sparse_step', 'encoder_sparse_step', 'hybrid_override_pattern'],
    ...['num_sparse_encoder_layers', 'num_sparse_decoder_layers', 'layers_block_type'],
  ],
};
const unread: ReadonlySet<string> = new Set(Object.values(withoutEffect).flat());

/** Whether a key says something of the block. */
function ofTheBlock({ config, ignored }: Fixture, path: Path): boolean {
  const key = path.at(-1) as string;
  const siblings = valueAt(config, path.slice(0, -1)) as Config;
  const denseWidth = ['intermediate_size', 'ffn_hidden_size'].includes(key);
  const ownWidth = ['moe_intermediate_size', 'expert_ffn_hidden_size'];
  if (denseWidth && ownWidth.some((width) => width in siblings)) return false;
  // A model and its language model each have a type, and either tells the family.
  if (key === 'model_type' && pathsOf(config).filter((other) => other.at(-1) === key).length > 1)
    return false;
  return !path.some((part) => unread.has(part) || ignored.includes(part));
}

/** What layers make of some rows, or the error that they end with. */
async function outcome(folder: string, fixture: Fixture, layers: readonly number[]) {
  try {
    const outputs: Float32Array[] = [];
    for (const number of layers) {
      await using layer = await load(folder, fixture, number);
      const block = fixture.reference.blocks.get(number) as Block;
      for (const batch of batches) outputs.push(await outputOf(layer, block, batch));
    }
    return outputs.map((output) => Buffer.from(output.buffer).toString('latin1')).join();
  } catch (error) {
    if (error instanceof MoEError) return error;
    throw error;
  }
}

/** A place in a tensor that the block reads: what two stacks share has the vision's part last. */
const placeIn = ({ shape }: TensorToWrite, { stack }: Fixture): number => {
  const size = shape.reduce((product, length) => product * length, 1);
  return stack === 'vision' ? size - 1 : Math.floor((size - 1) / 3);
};

/** Each of the block's tensors by its first layer that has it. */
function ownTensors({ reference }: Fixture): (readonly [layer: number, name: string])[] {
  const found = new Map<string, readonly [number, string]>();
  for (const [layer, names] of reference.names)
    for (const name of names) {
      const inside = name.replace(`.${layer}.`, '.');
      if (!found.has(inside)) found.set(inside, [layer, name]);
    }
  return [...found.values()];
}

const write = (folder: string, tensors: Tensors) =>
  writeFile(join(folder, 'model.safetensors'), Buffer.concat(encodeSafetensors(tensors)));

describe.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_, fixture) => {
  const { config, tensors, reference, atDefault } = fixture;
  const numbers = [...reference.blocks.keys()];

  test('no tensor is passed over', async () => {
    const folder = await temporaryFolder();
    await writeFixture(folder, fixture);
    const right = new Map<number, unknown>();
    for (const layer of numbers) right.set(layer, await outcome(folder, fixture, [layer]));
    for (const [layer, name] of ownTensors(fixture)) {
      const was = right.get(layer);
      expect(was, `layer ${layer}`).not.toBeInstanceOf(MoEError);
      const { [name]: tensor, ...others } = tensors;
      if (tensor === undefined) throw new Error(`no tensor ${name}`);
      await write(folder, others);
      expect.soft(await outcome(folder, fixture, [layer]), `without ${name}`).not.toBe(was);
      await write(folder, { ...others, [name]: changed(tensor, placeIn(tensor, fixture)) });
      expect.soft(await outcome(folder, fixture, [layer]), `${name} changed`).not.toBe(was);
    }
  });

  test('no key is passed over', async () => {
    const folder = await temporaryFolder();
    await writeFixture(folder, fixture);
    const right = await outcome(folder, fixture, numbers);
    expect(right).not.toBeInstanceOf(MoEError);
    const outcomeOf = async (path: Path, value: unknown) => {
      await writeFile(join(folder, 'config.json'), JSON.stringify(changedAt(config, path, value)));
      return outcome(folder, fixture, numbers);
    };
    for (const path of pathsOf(config).filter((each) => ofTheBlock(fixture, each))) {
      const key = path.at(-1) as string;
      const other = otherValues[key] ?? otherThan(valueAt(config, path));
      expect.soft(await outcomeOf(path, other), `${path.join('.')} changed`).not.toBe(right);
      if (key === 'hidden_act' || atDefault.includes(key)) continue;
      expect.soft(await outcomeOf(path, undefined), `without ${path.join('.')}`).not.toBe(right);
    }
  });
});
