import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Detokenizer } from '../../src/text/detokenizer.js';
import { CheckpointTokenizer } from '../../src/text/tokenizer.js';
import { root } from '../fixtures/command_line.js';
import { byteLevel, folderWith, pieces } from './byte_level.js';

const open = async (tokenizer: unknown, more: Record<string, unknown> = {}) =>
  CheckpointTokenizer.open(await folderWith({ 'tokenizer.json': tokenizer, ...more }));

const texts = ['', 'the hen', 'é — 🏳️‍🌈 a\u0301', ' leading', '\uFEFFbom', '漢字\n\n\tab'];

describe.each([
  ['bytes', byteLevel],
  ['pieces', pieces],
])('a tokenizer of %s', (_, make) => {
  test('gives back what it was given', async () => {
    const tokenizer = await open(make());
    for (const text of texts) {
      const tokens = await tokenizer.encode(text, { specialTokens: false });
      expect(tokenizer.decode(tokens)).toBe(text);
    }
    await tokenizer.close();
  });

  test('streams what it decodes, for tokens in any order', async () => {
    const tokenizer = await open(make());
    let state = 1;
    for (let round = 0; round < 300; round++) {
      const tokens = Array.from({ length: 1 + (round % 20) }, () => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return state % (tokenizer.size + 2); // two ids are no tokens
      });
      const stream = new Detokenizer(tokenizer);
      const streamed = tokens.map((token) => stream.push(token)).join('') + stream.end();
      const bytes = Buffer.concat(tokens.map((token) => tokenizer.bytes(token)));
      expect(streamed).toBe(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes));
    }
    await tokenizer.close();
  });
});

test('special tokens are tokens in a text, have no bytes, and are told where they are asked for', async () => {
  const tokenizer = await open(byteLevel());
  const tokens = await tokenizer.encode('the<|im_end|>x');
  expect([...tokens]).toEqual([257, 259, 120]);
  expect(tokenizer.decode(tokens)).toBe('thex');
  expect(tokenizer.decode(tokens, { skipSpecial: false })).toBe('the<|im_end|>x');
  expect([tokenizer.special(259), tokenizer.special(257), tokenizer.id('<|im_end|>')]).toEqual([
    '<|im_end|>',
    undefined,
    259,
  ]);
  expect(tokenizer.bytes(264)).toEqual(new TextEncoder().encode('<think>'));
  await tokenizer.close();
});

test('a text begins with what its tokenizer adds, unless told otherwise', async () => {
  const tokenizer = await open(pieces());
  expect((await tokenizer.encode('ab'))[0]).toBe(1);
  expect((await tokenizer.encode('ab', { specialTokens: false }))[0]).not.toBe(1);
  await tokenizer.close();
});

describe('files that cannot be', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['none', {}, /to hold tokenizer\.json, got none: write one with/],
    ['no JSON', { 'tokenizer.json': '{' }, /tokenizer\.json to be JSON/],
    ['a list', { 'tokenizer.json': '[]' }, /to hold an object/],
    ['no vocabulary', { 'tokenizer.json': {} }, /with a model and its `vocab`/],
    [
      'another decoder',
      { 'tokenizer.json': { ...byteLevel(), decoder: { type: 'WordPiece' } } },
      /got WordPiece: only `tokens` can be given/,
    ],
    [
      'a config that is none',
      { 'tokenizer.json': byteLevel(), 'tokenizer_config.json': '!' },
      /tokenizer_config\.json to be JSON/,
    ],
  ])('%s', async (_, files, message) => {
    await expect(CheckpointTokenizer.open(await folderWith(files))).rejects.toThrow(message);
  });

  test('a tokenizer that the library does not know fails when it encodes, and says which file', async () => {
    const tokenizer = await open({ ...byteLevel(), pre_tokenizer: { type: 'Other' } });
    await expect(tokenizer.encode('a')).rejects.toThrow(/tokenizer\.json failed/);
    await tokenizer.close();
  });
});

test('closing ends what is under way, and what comes later is refused', async () => {
  const tokenizer = await open(byteLevel());
  const encoding = tokenizer.encode('the '.repeat(10000));
  const ended = expect(encoding).rejects.toMatchObject({ code: 'ERR_MOE_CLOSED' });
  await tokenizer.close();
  await ended;
  await expect(tokenizer.encode('a')).rejects.toMatchObject({ code: 'ERR_MOE_CLOSED' });
});

test('a process that has a tokenizer ends by itself', () => {
  const script = `
    import { CheckpointTokenizer } from './dist/text/tokenizer.js';
    const tokenizer = await CheckpointTokenizer.open('test/data/tiny-mixtral');
    console.log((await tokenizer.encode('hé')).join());`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script],
    {
      cwd: join(root),
      encoding: 'utf8',
      timeout: 20000,
    },
  );
  expect([stdout, stderr, status]).toEqual(['104,195,169\n', '', 0]);
});
