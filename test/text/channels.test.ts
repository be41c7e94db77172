import { describe, expect, test } from 'vitest';
import type { Channels, Vocabulary } from '../../src/text/channel.js';
import { channelsOf as channelsWith } from '../../src/text/channels.js';
import { CheckpointTokenizer } from '../../src/text/tokenizer.js';
import { byteLevel, folderWith } from './byte_level.js';

const tokenizer = await CheckpointTokenizer.open(
  await folderWith({ 'tokenizer.json': byteLevel() }),
);
const channelsOf = (
  vocabulary: Vocabulary,
  template: string | undefined,
  prompt: ArrayLike<number>,
) => channelsWith(vocabulary, template, prompt, () => '');
const thinking = '{{ "<think>" }}{{ "</think>" }}';

async function run(channels: Channels, text: string) {
  let [all, reasoning, reasons] = ['', '', 0];
  for (const token of await tokenizer.encode(text)) {
    const added = channels.push(token);
    all += added.text;
    reasoning += added.reasoning;
    reasons += channels.reasons ? 1 : 0;
  }
  const end = channels.end(false);
  return { text: all + end.text, reasoning: reasoning + end.reasoning, reasons };
}

const tokens = (text: string) => tokenizer.encode(text);

test('what stands between think tags is reasoning', async () => {
  const answer = '<think>\nhm é\n</think>\n\nYes.';
  expect(await run(channelsOf(tokenizer, thinking, await tokens('hi')), answer)).toMatchObject({
    reasoning: 'hm é\n',
    text: 'Yes.',
  });
});

test('a prompt that ends inside the tags begins the answer there', async () => {
  const inside = await tokens('<think></think><think>\n');
  expect(await run(channelsOf(tokenizer, thinking, inside), 'hm</think>Yes')).toMatchObject({
    reasoning: 'hm',
    text: 'Yes',
  });
  const outside = await tokens('<think>\n</think>\n');
  expect(await run(channelsOf(tokenizer, thinking, outside), 'Yes')).toMatchObject({
    reasoning: '',
    text: 'Yes',
  });
});

test('a tag that somebody wrote in the prompt begins nothing', async () => {
  const asked = await tokens(
    '<|im_start|>user\nWhat is <think>?<|im_end|>\n<|im_start|>assistant\n',
  );
  expect(await run(channelsOf(tokenizer, thinking, asked), 'A tag.')).toMatchObject({
    reasoning: '',
    text: 'A tag.',
  });
});

test('without such a template tags are text', async () => {
  expect(await run(channelsOf(tokenizer, undefined, []), '<think>x</think>')).toMatchObject({
    text: '<think>x</think>',
    reasoning: '',
  });
});

describe('tags that are no tokens', () => {
  const vocabulary = {
    bytes: (token: number) => Uint8Array.of(token),
    special: () => undefined,
    id: () => undefined,
  };
  const read = (prompt: string, answer: string) => {
    const channels = channelsOf(vocabulary, thinking, Buffer.from(prompt));
    const pieces = [...Buffer.from(answer)].map((token) => channels.push(token));
    pieces.push(channels.end(false));
    return {
      text: pieces.map(({ text }) => text).join(''),
      reasoning: pieces.map(({ reasoning }) => reasoning).join(''),
      reasons: channels.reasons,
    };
  };

  test.each<[string, string, string, string, string]>([
    ['a pair', '', '<think>\nhm é < x\n</think>\n\nYes </b>.', 'hm é < x\n', 'Yes </b>.'],
    ['a prompt that ends inside', 'Hi <think>\n', 'hm</think>Yes', 'hm', 'Yes'],
    ['a prompt with a tag elsewhere', 'What is <think>?', 'Yes', '', 'Yes'],
    ['the beginning of a tag at the end', '', 'Yes <thin', '', 'Yes <thin'],
    ['half a tag at the end of the reasoning', '<think>', 'hm </thin', 'hm </thin', ''],
  ])('%s', (_, prompt, answer, reasoning, text) => {
    expect(read(prompt, answer)).toMatchObject({ text, reasoning });
  });

  test('reasoning is told from text while it is written', () => {
    expect(read('<think>', 'x').reasons).toBe(true);
    expect(read('<think>', 'x</think>').reasons).toBe(false);
  });
});
