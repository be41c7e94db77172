import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../src/checkpoint/containers/write.js';
import { CheckpointError, ConfigError, MoEError } from '../../src/index.js';
import { loadModel } from '../../src/model/load.js';
import type { ModelLoadOptions } from '../../src/model/options.js';
import { V } from '../families/random.js';
import { vector } from '../families/spelling.js';
import { writeShards } from '../fixtures/write_model.js';
import { decoderLogits } from '../reference/decoder.js';
import { writtenModel } from './fixture.js';
import { modelFixtures } from './fixtures.js';
import { logitsOf, textOf, withModel, worstError } from './running.js';

const fixtureOf = (name: string) => {
  const found = modelFixtures.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no fixture ${name}`);
  return found;
};
const dense = fixtureOf('deepseek_v3, yarn');
const biased = fixtureOf('qwen2_moe, biases');
const unbiased = fixtureOf('qwen2_moe, no biases, windows by type, llama3 positions');
const tied = fixtureOf('granitemoe, factors, a tied head');
const tokens = textOf(40);

const failure = async (folder: string, options: ModelLoadOptions = {}): Promise<MoEError> => {
  const error = await loadModel(folder, { device: 'cpu', ...options }).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(MoEError);
  return error;
};

describe('tensors', () => {
  test('may stand in several files', async () => {
    const folder = await writtenModel(dense);
    await rm(join(folder, 'model.safetensors'));
    const entries = Object.entries(dense.tensors);
    const half = Math.floor(entries.length / 2);
    const isFirst = entries.findIndex(([name]) => name === 'model.embed_tokens.weight') < half;
    const embeddingFile = `model-0000${isFirst ? 1 : 2}-of-00002.safetensors`;
    await writeShards(folder, [
      Object.fromEntries(entries.slice(0, half)),
      Object.fromEntries(entries.slice(half)),
    ]);
    await withModel(folder, dense.options, async (model) => {
      const error = worstError(await logitsOf(model, tokens), decoderLogits(dense.decoder, tokens));
      expect(error).toBeLessThan(1e-5);
      // Only the embedding is read from its file later.
      const mapped = readFileSync('/proc/self/maps', 'utf8').split('\n');
      const files = mapped.filter((line) => line.includes(folder)).map((line) => basename(line));
      expect(new Set(files)).toEqual(new Set([embeddingFile]));
    });
  });

  test.each([
    ['a bias that is there and should not be', unbiased, 'self_attn.q_proj.bias'],
    ['a norm of another family', biased, 'self_attn.q_norm.weight'],
    ['a bias of the head', biased, 'lm_head.bias'],
  ] as const)('%s is an error that names it', async (_, fixture, name) => {
    const whole = name.startsWith('lm_head') ? name : `model.layers.1.${name}`;
    const tensors = { ...fixture.tensors, [whole]: vector(new Array(12).fill(0.5)) };
    const error = await failure(await writtenModel({ ...fixture, tensors }));
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toContain(`"${whole}"`);
  });

  test('a bias that is missing is an error that names it', async () => {
    const name = 'model.layers.2.self_attn.k_proj.bias';
    const { [name]: _, ...tensors } = biased.tensors;
    const error = await failure(await writtenModel({ ...biased, tensors }));
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toContain(name);
  });

  test('a layer without a router where the config says that it has one is an error', async () => {
    const config = { ...dense.config, first_k_dense_replace: 0 };
    const error = await failure(await writtenModel({ ...dense, config }));
    expect(error.message).toContain('Expected layer 0');
    expect(error.message).toContain('to have a router');
  });

  test('a head beside an embedding that it is tied to is a note', async () => {
    const { 'model.embed_tokens.weight': embedding } = tied.tensors;
    if (embedding === undefined) throw new Error('no embedding');
    const folder = await writtenModel({
      ...tied,
      tensors: { ...tied.tensors, 'lm_head.weight': embedding },
    });
    await withModel(folder, tied.options, async ({ notes }) => {
      expect(notes).toEqual([
        '`lm_head.weight` is not read: the config ties the output head to the embedding',
      ]);
    });
  });

  test('of layers for further tokens, and scales of a cache, are notes; tables are nothing', async () => {
    const more = {
      'model.layers.0.self_attn.rotary_emb.inv_freq': vector([1, 2]),
      'model.layers.1.self_attn.k_scale': vector([1]),
    };
    const folder = await writtenModel({ ...dense, tensors: { ...dense.tensors, ...more } });
    await withModel(folder, dense.options, async ({ notes }) => {
      expect(notes).toHaveLength(2);
      expect(notes[0]).toMatch(/^31 tensors \(model\.layers\.3\..* further tokens are not read$/);
      expect(notes[1]).toMatch(/^1 tensors \(model\.layers\.1\.self_attn\.k_scale\) .* no effect$/);
    });
  });
});

describe('what stands beside the tensors', () => {
  test('is needed', async () => {
    const folder = await writtenModel(dense);
    await rm(join(folder, 'config.json'));
    expect((await failure(folder)).message).toContain('to hold config.json');
  });

  test('is named where it is wrong', async () => {
    const folder = await writtenModel({
      ...dense,
      config: { ...dense.config, vocab_size: 'many' },
    });
    const error = await failure(folder);
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toContain(`${join(folder, 'config.json')}: Expected \`vocab_size\``);
  });

  test('says which tokens end a text', async () => {
    const folder = await writtenModel({ ...dense, config: { ...dense.config, eos_token_id: 1 } });
    await writeFile(join(folder, 'generation_config.json'), '{"eos_token_id": [2, 3], "top_k": 5}');
    await withModel(folder, dense.options, async ({ description }) => {
      expect(description).toMatchObject({ endTokens: [2, 3], sampling: { topK: 5 } });
    });
  });
});

describe('loading', () => {
  test('tells how far it is', async () => {
    const folder = await writtenModel(dense);
    const told: [number, number][] = [];
    const onProgress = (done: number, total: number) => void told.push([done, total]);
    await withModel(folder, { ...dense.options, onProgress }, async () => undefined);
    // A dense layer, twice six experts, and what is around the layers.
    expect(told.every(([, total]) => total === 14)).toBe(true);
    expect(told.map(([done]) => done)).toEqual(told.map(([done]) => done).sort((a, b) => a - b));
    expect(told.at(-1)).toEqual([14, 14]);
  });

  test('ends with the reason of its signal, before and on the way', async () => {
    const folder = await writtenModel(dense);
    const reason = new Error('enough');
    const before = loadModel(folder, { ...dense.options, signal: AbortSignal.abort(reason) });
    await expect(before).rejects.toBe(reason);
    const ending = new AbortController();
    const onProgress = (done: number) => {
      if (done > 2) ending.abort(reason);
    };
    const underway = loadModel(folder, { ...dense.options, signal: ending.signal, onProgress });
    await expect(underway).rejects.toBe(reason);
  });

  test('refuses options that are not known, and those that do not fit', async () => {
    const folder = await writtenModel(dense);
    const wrong = { ...dense.options, kvTypes: 'int8' } as ModelLoadOptions;
    expect((await failure(folder, wrong)).message).toContain('did you mean `kvType`');
    expect((await failure(folder, { contextLength: 1000 })).message).toContain('contextLength');
    const rows = await failure(folder, { weightType: 'float32', activationType: 'int8' });
    expect(rows.message).toContain('activationType');
  });

  test('holds what is asked for', async () => {
    const folder = await writtenModel(tied);
    const weigh = (options: ModelLoadOptions) =>
      withModel(folder, { device: 'cpu', ...options }, async ({ native, description }) => {
        expect(description.spec.vocabularySize).toBe(V);
        return [native.weightBytes, native.cacheBytes] as const;
      });
    const [floats, cache] = await weigh({ weightType: 'float32', kvType: 'float32' });
    const [halves, halfCache] = await weigh({ weightType: 'bfloat16', kvType: 'bfloat16' });
    const [withHead] = await weigh({ weightType: 'bfloat16', outputType: 'float32' });
    expect(halves).toBeLessThan(floats);
    expect(withHead).toBeGreaterThan(halves);
    expect(halfCache).toBe(cache / 2);
    const [, more] = await weigh({ kvType: 'float32', kvTokens: 961 });
    const blocks = 976 / 96; // 961 tokens are 61 blocks of 16
    expect(more).toBe(cache * blocks);
  });
});

describe('a tensor that lacks its shape', () => {
  test('is an error before anything is packed', async () => {
    const name = 'model.layers.2.self_attn.o_proj.weight';
    const folder = await writtenModel(dense);
    const tensors = { ...dense.tensors, [name]: vector([1, 2, 3]) };
    await writeSafetensors(join(folder, 'model.safetensors'), tensors);
    const told: number[] = [];
    const error = await failure(folder, { onProgress: (done) => void told.push(done) });
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toContain(name);
    expect(told).toEqual([]);
  });
});
