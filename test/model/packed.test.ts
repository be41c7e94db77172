// A packed model is the model: the same bits, and errors for everything that is not as it was packed.
import { readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeGguf } from '../../bench/gguf/write.mjs';
import { OutputFolder } from '../../src/base/output_folder.js';
import { MoECheckpoint, MoEError, MoELayer, MoEModel } from '../../src/index.js';
import { loadModel } from '../../src/model/load.js';
import type { ModelLoadOptions } from '../../src/model/options.js';
import { type PackModelOptions, packModel } from '../../src/model/packed/write.js';
import { nodeMoe, nodeMoeJson, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { randomValues } from '../support/layers.js';
import { metadataOf } from '../text/gguf_metadata.js';
import { ggufOf, storedModel } from '../witness/llama.js';
import { witnessModels } from '../witness/models.js';
import { writtenModel } from './fixture.js';
import { modelFixtures } from './fixtures.js';
import { logitsOf, textOf, withModel } from './running.js';

const tokens = textOf(40);
const file = 'model.safetensors';

async function packed(folder: string, options: Partial<PackModelOptions> = {}): Promise<string> {
  const path = join(await temporaryFolder(), 'packed');
  await using out = await OutputFolder.open('--out', path);
  await packModel(folder, out, { signal: new AbortController().signal, ...options });
  return path;
}

async function expectSame(
  folder: string,
  file: string,
  options: ModelLoadOptions,
  asPacked: ModelLoadOptions,
): Promise<void> {
  const right = await withModel(folder, options, (model) => logitsOf(model, tokens));
  await withModel(file, { ...asPacked, prefixCache: false }, async (model) => {
    expect(await logitsOf(model, tokens)).toEqual(right);
    expect(await logitsOf(model, tokens, [13, 1, 26])).toEqual(right);
  });
}

test.each(modelFixtures.map((fixture) => [fixture.name, fixture] as const))(
  '%s: the same bits',
  async (_, fixture) => {
    const folder = await writtenModel(fixture);
    const out = await packed(folder, { weightType: 'float32' });
    await expectSame(folder, out, fixture.options, { ...fixture.options, threads: 2 });
  },
);

const fixtureOf = (name: string) => {
  const found = modelFixtures.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no fixture ${name}`);
  return found;
};
const latent = fixtureOf('deepseek_v3, yarn');
const tied = fixtureOf('granitemoe, factors, a tied head');

describe.each([latent, tied])('$name', (fixture) => {
  test.each<Pick<PackModelOptions, 'weightType' | 'weightGroup' | 'activationType' | 'outputType'>>(
    [
      {},
      { weightType: 'bfloat16' },
      { weightType: 'int8', weightGroup: 'all' },
      { weightType: 'int8', activationType: 'int8' },
      { weightType: 'int4', outputType: 'float32' },
      { weightType: 'int4', weightGroup: 64, activationType: 'int8', outputType: 'int4' },
    ],
  )('%o', async (held) => {
    const folder = await writtenModel(fixture);
    const out = await packed(folder, held);
    await expectSame(folder, out, { device: 'cpu', ...held }, { device: 'cpu' });
    await expectSame(folder, out, { device: 'cpu', ...held }, { device: 'cpu', ...held });
  });
});

test('its MoE layers are packed layers', async () => {
  const folder = await writtenModel(latent);
  const out = await packed(folder, { weightType: 'int8' });
  const hidden = randomValues(32 * 5, 3);
  await using checkpoint = await MoECheckpoint.open(folder);
  const [layer] = checkpoint.layers;
  await using own = await checkpoint.load(layer, { device: 'cpu', weightType: 'int8' });
  await using other = await MoELayer.load(out, { layer: layer as number });
  const batch = hidden.subarray(0, 5 * own.hiddenSize);
  expect((await other.forward(batch)).output).toEqual((await own.forward(batch)).output);
});

describe('a GGUF file', () => {
  const modelOf = (name: string) => {
    const found = witnessModels.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no model ${name}`);
    return found;
  };
  const written = async ({ metadata, tensors }: ReturnType<typeof ggufOf>): Promise<string> => {
    const path = join(await temporaryFolder(), 'model.gguf');
    await writeGguf(path, metadata, tensors);
    // What stands beside it is of other models.
    await writeFile(join(path, '..', 'config.json'), '{"model_type": "qwen3_moe"}');
    return path;
  };
  /** As files of a mixed quantisation: tensors of a kind are of another type in some layers. */
  const mixed = (name: string) => {
    const { metadata, tensors } = ggufOf(modelOf(name), 'Q8_0');
    const types = ['Q8_0', 'Q5_0', 'Q4_0'] as const;
    const typeOf = (tensor: string) => {
      const varies = /_down|attn_v|attn_kv|token_embd/.test(tensor);
      return types[
        varies ? (1 + Number(/\d+/.exec(tensor) ?? 0)) % 3 : 0
      ] as (typeof types)[number];
    };
    const plain = ggufOf(modelOf(name), 'F32').tensors;
    return {
      metadata,
      tensors: tensors.map(({ type, ...tensor }, at) => ({
        ...(type === 'Q8_0'
          ? { ...(plain[at] as typeof tensor), type: typeOf(tensor.name) }
          : { ...tensor, type }),
      })),
    };
  };

  test.each(['mixtral', 'deepseek_v2', 'gpt_oss', 'granitemoe'])(
    '%s: the same bits',
    async (name) => {
      const path = await written(mixed(name));
      await expectSame(path, await packed(path), {}, {});
      const held = { weightType: 'int8' } as const;
      await expectSame(path, await packed(path, held), held, {});
    },
  );

  test('carries its tokenizer and template, and writes the same text', async () => {
    const tokenizer = JSON.parse(await readFile(join(tinyMixtral, 'tokenizer.json'), 'utf8'));
    const text = metadataOf(tokenizer);
    const { metadata, tensors } = ggufOf(await storedModel(tinyMixtral), 'Q8_0');
    const path = await written({
      metadata: {
        ...metadata,
        'tokenizer.ggml.model': ['string', 'gpt2'],
        'tokenizer.ggml.pre': ['string', 'gpt-2'],
        'tokenizer.ggml.tokens': ['string[]', text.get('tokenizer.ggml.tokens')],
        'tokenizer.ggml.token_type': [
          'i32[]',
          [...(text.get('tokenizer.ggml.token_type') as Int32Array)],
        ],
        'tokenizer.ggml.merges': ['string[]', text.get('tokenizer.ggml.merges')],
        'tokenizer.ggml.eos_token_id': ['u32', 10],
        'tokenizer.chat_template': [
          'string',
          '{% for m in messages %}{{ m.content }}: {% endfor %}',
        ],
      },
      tensors,
    });
    const out = join(await temporaryFolder(), 'tiny');
    await nodeMoeJson(['pack', path, '--out', out]);
    const answers = async (folder: string) => {
      await using model = await MoEModel.load(folder);
      const options = { maxTokens: 30, temperature: 0, logprobs: 2, seed: 0 };
      const messages = [{ role: 'user', content: 'In the beginning' }] as const;
      return [
        await model.complete({ prompt: 'In the beginning', ...options }),
        await model.complete({ messages, ...options }),
      ];
    };
    expect(await answers(out)).toEqual(await answers(path));
  });
});

describe('what is not as it was packed is an error', () => {
  const failure = async (folder: string, options: ModelLoadOptions = {}): Promise<string> => {
    const error: unknown = await loadModel(folder, options).then(
      (model) => model.close(),
      (thrown) => thrown,
    );
    expect(error).toBeInstanceOf(MoEError);
    return (error as MoEError).message;
  };
  test('a config', async () => {
    const out = await packed(await writtenModel(latent));
    const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
    await writeFile(join(out, 'config.json'), JSON.stringify({ ...config, rope_theta: 31 }));
    expect(await failure(out)).toMatch(/config\.json beside .* to be as it was packed/);
  });

  test.each([
    'decoder.1.queryNope',
    'decoder.2.feedForwardNorm',
    'decoder.head',
    'layers.1.packed.up',
  ])('a tensor that is missing: %s', async (name) => {
    const out = await packed(await writtenModel(latent));
    const bytes = await readFile(join(out, file));
    const at = bytes.indexOf(`"${name}"`);
    expect(at).toBeGreaterThan(0);
    bytes.write('x', at + 1);
    await writeFile(join(out, file), bytes);
    expect(await failure(out)).toMatch(/to hold the tensors that were packed|packed layers/);
  });

  test('a file of layers alone', async () => {
    const out = join(await temporaryFolder(), 'layers.safetensors');
    await nodeMoeJson(['pack', tinyMixtral, '--out', out]);
    expect(await failure(out)).toMatch(
      /to be a whole model, got MoE layers that were packed alone/,
    );
  });

  test('half a file', async () => {
    const out = await packed(await writtenModel(latent));
    const bytes = await readFile(join(out, file));
    await writeFile(join(out, file), bytes.subarray(0, bytes.byteLength - 100));
    expect(await failure(out)).toContain(file);
  });

  test('another layout', async () => {
    const out = await packed(await writtenModel(latent));
    const bytes = await readFile(join(out, file));
    for (let at = bytes.indexOf('3: panels'); at >= 0; at = bytes.indexOf('3: panels', at + 1))
      bytes.write('9', at);
    await writeFile(join(out, file), bytes);
    const message = await failure(out);
    expect(message).toMatch(/^Layer 0 of .*packed as .*got `9: panels/);
    expect(message).toContain(out);
  });

  test.each<[ModelLoadOptions, RegExp]>([
    [{ weightType: 'int8' }, /`weightType` to be left out or `float32`/],
    [{ weightGroup: 64 }, /`weightGroup` to be left out/],
    [{ activationType: 'int8' }, /`activationType` to be left out or `float`/],
    [{ outputType: 'int4' }, /`outputType` to be left out or `float32`/],
  ])('%o', async (options, message) => {
    const out = await packed(await writtenModel(latent), { weightType: 'float32' });
    expect(await failure(out, options)).toMatch(message);
  });

  test('a weight group, which is named where it was left to the device', async () => {
    const out = await packed(await writtenModel(latent), { weightType: 'int4' });
    await (await loadModel(out, { weightGroup: 32 })).close();
    expect(await failure(out, { weightGroup: 64 })).toMatch(
      /`weightGroup` to be left out or `32` .*got `64`/,
    );
  });
});

test('what is packed already is refused', async () => {
  const out = await packed(await writtenModel(latent));
  await expect(packed(out)).rejects.toThrow(/not packed/);
});

test('what has no effect is told', async () => {
  const folder = await writtenModel(fixtureOf('glm4_moe_lite, as published'));
  await using out = await OutputFolder.open('--out', join(await temporaryFolder(), 'packed'));
  const { notes } = await packModel(folder, out, { signal: new AbortController().signal });
  expect(notes).toEqual(await withModel(folder, {}, async (model) => model.notes));
  expect(notes.join()).toMatch(/of layers that predict further tokens are not read/);
});

test('an abort leaves nothing', async () => {
  const parent = await temporaryFolder();
  const controller = new AbortController();
  const folder = await writtenModel(latent);
  const packing = (async () => {
    await using out = await OutputFolder.open('--out', join(parent, 'packed'));
    const onProgress = () => controller.abort();
    await packModel(folder, out, { signal: controller.signal, onProgress });
  })();
  await expect(packing).rejects.toThrow(/abort/i);
  expect(await readdir(parent)).toEqual([]);
});

describe('pack', () => {
  test('packs a whole model, which then writes the same text', async () => {
    const out = join(await temporaryFolder(), 'tiny');
    const result = await nodeMoeJson<{ layers: number; weightType: string; bytes: number }>([
      ...['pack', tinyMixtral, '--out', out, '--weight-type', 'int4'],
    ]);
    expect(result).toMatchObject({ layers: 4, weightType: 'int4', outputType: 'int8' });
    expect(readFileSync(join(out, file)).byteLength).toBe(result.bytes);
    expect(readdirSync(out)).toContain('tokenizer.json');
    const complete = async (path: string, options: ModelLoadOptions) => {
      await using model = await MoEModel.load(path, options);
      return await model.complete({
        prompt: 'In the beginning',
        maxTokens: 30,
        temperature: 0,
        logprobs: 2,
      });
    };
    const own = await complete(tinyMixtral, { weightType: 'int4' });
    expect({ ...(await complete(out, {})), seed: 0 }).toEqual({ ...own, seed: 0 });
  });

  test('refuses a stack of layers and GGUF for a folder, and the type of a head for a file', async () => {
    const out = join(await temporaryFolder(), 'tiny');
    const failure = async (...args: string[]) => {
      const { code, stderr } = await nodeMoe(['pack', tinyMixtral, ...args]);
      expect(code).toBe(1);
      return stderr;
    };
    expect(await failure('--out', out, '--stack', 'x')).toContain('--stack');
    expect(await failure('--out', `${out}.gguf`)).toMatch(/a folder or a .safetensors file, got/);
    expect(await failure('--out', `${out}.safetensors`, '--output-type', 'int8')).toContain(
      '--output-type',
    );
  });

  test('refuses a folder with something in it', async () => {
    const out = await temporaryFolder();
    await writeFile(join(out, 'mine.txt'), '');
    const { code, stderr } = await nodeMoe(['pack', tinyMixtral, '--out', out]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/new folder or an empty one.*mine\.txt/s);
    expect(await readdir(out)).toEqual(['mine.txt']);
  });
});
