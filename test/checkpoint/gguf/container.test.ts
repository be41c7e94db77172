// GGUF files as containers: what a header may say, files in several parts, files that are damaged.
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type GgufTensor, type GgufValue, writeGguf } from '../../../bench/gguf/write.mjs';
import { OutputFile } from '../../../src/base/output_file.js';
import { GgufFile } from '../../../src/checkpoint/containers/gguf/file.js';
import { packCheckpoint } from '../../../src/checkpoint/packed/write.js';
import { MoECheckpoint, MoEError, MoELayer } from '../../../src/index.js';
import { temporaryFolder } from '../../fixtures/temporary_folder.js';
import { randomValues } from '../../support/layers.js';
import { ggufOf } from '../../witness/llama.js';
import { witnessModels } from '../../witness/models.js';

const [mixtral] = witnessModels as [(typeof witnessModels)[number]];
const model = ggufOf(mixtral, 'Q8_0');

async function written(
  metadata: Readonly<Record<string, GgufValue>> = model.metadata,
  tensors: readonly GgufTensor[] = model.tensors,
  name = 'model.gguf',
): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeGguf(path, metadata, tensors);
  return path;
}

const messageOf = async (opening: Promise<unknown>): Promise<string> => {
  const error = await opening.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MoEError);
  return (error as Error).message;
};

/** Changes some bytes of a file in a copy of it. */
async function changed(
  path: string,
  change: (bytes: Buffer) => Buffer | undefined,
): Promise<string> {
  const bytes = await readFile(path);
  const copy = join(await temporaryFolder(), 'changed.gguf');
  await writeFile(copy, change(bytes) ?? bytes);
  return copy;
}

describe('a header', () => {
  test('says what is in the file', async () => {
    const file = await GgufFile.open(await written());
    expect(file.metadata.get('general.architecture')).toBe('llama');
    expect(file.tensors.map(({ name }) => name)).toEqual(model.tensors.map(({ name }) => name));
    const experts = file.tensors.find(({ name }) => name === 'blk.0.ffn_up_exps.weight');
    expect(experts).toMatchObject({ shape: [8, 32, 64], type: { name: 'Q8_0' } });
    expect(experts?.byteLength).toBe((8 * 32 * 64 * 34) / 32);
  });

  test.each([
    ['no magic', (b: Buffer) => void b.write('GGML', 0), 'begins with "GGML"'],
    ['another version', (b: Buffer) => void b.writeUInt32LE(4, 4), 'version 2 or 3, got 4'],
    ['big-endian numbers', (b: Buffer) => void b.writeUInt32BE(3, 4), 'big-endian'],
    [
      '2^40 tensors',
      (b: Buffer) => void b.writeBigUInt64LE(2n ** 40n, 8),
      'tensors, got 1099511627776',
    ],
    [
      '2^40 keys',
      (b: Buffer) => void b.writeBigUInt64LE(2n ** 40n, 16),
      'keys of metadata, got 1099511627776',
    ],
    [
      'a key of 2^40 bytes',
      (b: Buffer) => void b.writeBigUInt64LE(2n ** 40n, 24),
      'got 1099511627776',
    ],
    ['half of its bytes', (b: Buffer) => b.subarray(0, b.length / 2), 'the file is cut'],
    ['ten bytes', (b: Buffer) => b.subarray(0, 10), 'the file is cut'],
  ])('with %s is an error that says so', async (_, change, text) => {
    const path = await changed(await written(), change);
    const message = await messageOf(MoECheckpoint.open(path));
    expect(message).toContain(text);
    expect(message).toContain(path);
  });

  test('with a type that is not read names it and its tensor', async () => {
    const path = await changed(await written(), (bytes) => {
      const at = bytes.indexOf('blk.0.ffn_up_exps.weight') + 'blk.0.ffn_up_exps.weight'.length;
      bytes.writeUInt32LE(16, at + 4 + 3 * 8);
    });
    const message = await messageOf(MoECheckpoint.open(path));
    expect(message).toContain('"blk.0.ffn_up_exps.weight"');
    expect(message).toContain('IQ2_XXS, which is not read');
  });

  test('with rows that are no whole blocks, or an offset past the end, names the tensor', async () => {
    const end = 'blk.0.ffn_up_exps.weight'.length;
    const rows = await changed(await written(), (bytes) => {
      bytes.writeBigUInt64LE(48n, bytes.indexOf('blk.0.ffn_up_exps.weight') + end + 4);
    });
    expect(await messageOf(MoECheckpoint.open(rows))).toContain('rows of a multiple of 32');
    const offset = await changed(await written(), (bytes) => {
      bytes.writeBigUInt64LE(2n ** 40n, bytes.indexOf('blk.0.ffn_up_exps.weight') + end + 4 + 28);
    });
    const message = await messageOf(MoECheckpoint.open(offset));
    expect(message).toContain('"blk.0.ffn_up_exps.weight"');
    expect(message).toContain('offset');
  });

  test.each([
    ['a size of 0', [2n, 0n], 'sizes of at least 1, got 0'],
    ['more experts than the metadata says', [1n, 16n], 'of 8 experts'],
  ] as const)('with %s names the tensor', async (_, [rows, experts], text) => {
    const name = 'blk.0.ffn_up_exps.weight';
    const path = await changed(await written(), (bytes) => {
      const at = bytes.indexOf(name) + name.length + 4;
      bytes.writeBigUInt64LE(rows, at + 8);
      bytes.writeBigUInt64LE(experts, at + 16);
    });
    const message = await messageOf(MoECheckpoint.open(path));
    expect(message).toContain(`"${name}"`);
    expect(message).toContain(text);
  });

  test('whatever byte of it is damaged, is refused or read: nothing else happens', async () => {
    const path = await written();
    const file = await GgufFile.open(path);
    const bytes = await readFile(path);
    const copy = join(await temporaryFolder(), 'damaged.gguf');
    for (let at = 0; at < file.dataStart; at += 1 + (at % 5)) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] as number) ^ (1 << (at % 8)) ^ (at % 3 === 0 ? 0xff : 0);
      await writeFile(copy, damaged);
      await MoECheckpoint.open(copy).then(
        (checkpoint) => checkpoint.close(),
        (error) => expect(error, `byte ${at}`).toBeInstanceOf(MoEError),
      );
    }
  });
});

describe('metadata', () => {
  test.each([
    ['an architecture without experts', { 'llama.expert_count': ['u32', 0] }, 'to have experts'],
    ['an unknown architecture', { 'general.architecture': ['string', 'rwkv7'] }, 'got `rwkv7`'],
    [
      'a key that is not known',
      { 'llama.attn_logit_softcapping': ['f32', 30] },
      'attn_logit_softcapping',
    ],
    [
      'positions of another kind',
      { 'llama.rope.scaling.type': ['string', 'longrope'] },
      'got `longrope`',
    ],
    ['scores of another kind', { 'llama.expert_gating_func': ['u32', 2] }, 'expert_gating_func'],
  ] as const)('of %s is an error', async (_, keys, text) => {
    const path = await written({ ...model.metadata, ...(keys as Record<string, GgufValue>) });
    expect(await messageOf(MoECheckpoint.open(path))).toContain(text);
  });

  test('two tensors that are the same one of the family are an error', async () => {
    const norm = model.tensors.find(({ name }) => name === 'blk.0.ffn_norm.weight') as GgufTensor;
    const again = { ...norm, name: 'blk.0.post_attention_norm.weight' };
    const path = await written(model.metadata, [...model.tensors, again]);
    expect(await messageOf(MoECheckpoint.open(path))).toContain(
      'several for "model.layers.0.post_attention_layernorm.weight"',
    );
  });

  test('a tensor that is not known is an error', async () => {
    const [first] = model.tensors as [GgufTensor];
    const path = await written(model.metadata, [
      ...model.tensors,
      { ...first, name: 'blk.0.extra.weight' },
    ]);
    expect(await messageOf(MoECheckpoint.open(path))).toContain('"blk.0.extra.weight"');
  });
});

describe('a model in several files', () => {
  const half = Math.floor(model.tensors.length / 2);
  const split = (no: number, metadata: Record<string, GgufValue>) =>
    ({
      ...metadata,
      ...{ 'split.no': ['u32', no], 'split.count': ['u32', 2] },
      'split.tensors.count': ['i32', model.tensors.length],
    }) as Record<string, GgufValue>;

  async function inTwo(second = model.tensors.slice(half)): Promise<string> {
    const folder = await temporaryFolder();
    const first = join(folder, 'm-00001-of-00002.gguf');
    await writeGguf(first, split(0, model.metadata), model.tensors.slice(0, half));
    await writeGguf(join(folder, 'm-00002-of-00002.gguf'), split(1, {}), second);
    return first;
  }

  test('is the one in one file, by the path of the first or of the folder', async () => {
    const options = { layer: 2, device: 'cpu' } as const;
    const hidden = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
    const outputs: Float32Array[] = [];
    const first = await inTwo();
    for (const path of [await written(), first, join(first, '..')]) {
      await using layer = await MoELayer.load(path, options);
      outputs.push((await layer.forward(hidden)).output as Float32Array);
    }
    expect(outputs[1]).toEqual(outputs[0]);
    expect(outputs[2]).toEqual(outputs[0]);
  });

  test('lacks a tensor, or a file', async () => {
    const lacking = await inTwo(model.tensors.slice(half + 1));
    expect(await messageOf(MoECheckpoint.open(lacking))).toContain('split.tensors.count');
    const alone = join(await temporaryFolder(), basename(lacking));
    await copyFile(lacking, alone);
    expect(await messageOf(MoECheckpoint.open(alone))).toContain('m-00002-of-00002.gguf');
  });

  test.each(['m-00001-of-00001', 'm-00000-of-00000', 'm-00001-of-00003', 'm-00002-of-00003'])(
    'a file that says nothing of parts is one by itself: %s.gguf',
    async (name) => {
      const path = await written(model.metadata, model.tensors, `${name}.gguf`);
      await using checkpoint = await MoECheckpoint.open(path);
      expect(checkpoint.layers.length).toBeGreaterThan(0);
    },
  );

  test('a part that is called otherwise is an error', async () => {
    for (const name of ['m.gguf', 'm-00001-of-00003.gguf']) {
      const path = await written(split(0, model.metadata), model.tensors, name);
      expect(await messageOf(MoECheckpoint.open(path))).toContain('one of `2`');
    }
  });

  test('a folder with two models asks for one of them', async () => {
    const folder = join(await temporaryFolder(), 'two');
    await mkdir(folder);
    for (const name of ['a.gguf', 'b.gguf']) await copyFile(await written(), join(folder, name));
    expect(await messageOf(MoECheckpoint.open(folder))).toContain('a.gguf, b.gguf');
  });
});

test('matrices of one product may be of several types', async () => {
  const tensors = model.tensors.map((tensor) =>
    tensor.name === 'blk.1.ffn_gate_exps.weight' ? { ...tensor, type: 'Q4_0' as const } : tensor,
  );
  await using checkpoint = await MoECheckpoint.open(await written(model.metadata, tensors));
  const hidden = randomValues(5 * checkpoint.hiddenSize, 3);
  await using published = await checkpoint.load(1, { device: 'cpu' });
  await using widened = await checkpoint.load(1, { device: 'cpu', weightType: 'float32' });
  await using alike = await checkpoint.load(0, { device: 'cpu' });
  expect(published.weightType).toBe('published');
  expect(published.weightBytes).toBeLessThan(alike.weightBytes);
  const result = await widened.forward(hidden);
  expect(await published.forward(hidden)).toEqual(result);
  // Where it is used as it stands.
  const path = join(await temporaryFolder(), 'packed.safetensors');
  {
    await using out = await OutputFile.open('--out', path, { outOfOrder: true });
    const { signal } = new AbortController();
    await packCheckpoint(checkpoint, out, { layers: [0, 1], signal });
  }
  await using packed = await MoELayer.load(path, { layer: 1 });
  expect(packed.weightBytes).toBe(published.weightBytes);
  expect(await packed.forward(hidden)).toEqual(result);
});

test('a scale that is no number is an error that names the tensor', async () => {
  const whole = await written();
  const file = await GgufFile.open(whole);
  const up = file.tensors.find(({ name }) => name === 'blk.0.ffn_up_exps.weight');
  const path = await changed(whole, (bytes) => {
    // Of the last of eight experts.
    const at = file.dataStart + (up?.offset ?? 0) + ((up?.byteLength ?? 0) / 8) * 7;
    bytes.writeUInt16LE(0x7e00, at);
  });
  for (const weightType of [undefined, 'int4', 'float32'] as const) {
    const message = await messageOf(
      MoELayer.load(path, { layer: 0, device: 'cpu', ...(weightType && { weightType }) }),
    );
    expect(message).toContain('block_sparse_moe.experts.7.w3.weight');
    expect(message).toContain('to be finite numbers');
  }
});

test('a layer says what it is held as', async () => {
  await using checkpoint = await MoECheckpoint.open(await written());
  expect(checkpoint.weightType).toBe('published');
  expect(checkpoint.modelType).toBe('mixtral');
  await using layer = await checkpoint.load(0, { device: 'cpu' });
  expect(layer.weightType).toBe('published');
});
