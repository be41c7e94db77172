import { expect, test } from 'vitest';
import { type Channels, channelsOf } from '../../src/text/channels.js';
import { CheckpointTokenizer } from '../../src/text/tokenizer.js';
import { byteLevel, folderWith } from './byte_level.js';

const tokenizer = await CheckpointTokenizer.open(
  await folderWith({ 'tokenizer.json': byteLevel() }),
);
const thinking = '{{ "<think>" }}{{ "</think>" }}';
const harmony = '<|channel|>';

async function run(channels: Channels, text: string) {
  let [all, reasoning, reasons] = ['', '', 0];
  for (const token of await tokenizer.encode(text)) {
    const added = channels.push(token);
    all += added.text;
    reasoning += added.reasoning;
    reasons += channels.reasons ? 1 : 0;
  }
  const end = channels.end();
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

test('without such a template tags are text', async () => {
  expect(await run(channelsOf(tokenizer, undefined, []), '<think>x</think>')).toMatchObject({
    text: '<think>x</think>',
    reasoning: '',
  });
});

test('channels of harmony are told apart by tokens', async () => {
  const full = { ...byteLevel() };
  const more = ['<|return|>', '<|call|>'].map((content, index) => ({
    id: 266 + index,
    content,
    special: true,
  }));
  full['added_tokens'] = [...(full['added_tokens'] as object[]), ...more];
  const known = await CheckpointTokenizer.open(await folderWith({ 'tokenizer.json': full }));
  const channels = channelsOf(known, harmony, []);
  let [text, reasoning] = ['', ''];
  const answer =
    '<|channel|>analysis<|message|>2+2 it is<|end|><|start|>assistant<|channel|>final<|message|>2 + 2 = 4.<|return|>';
  for (const token of await known.encode(answer)) {
    const added = channels.push(token);
    text += added.text;
    reasoning += added.reasoning;
  }
  expect([text, reasoning]).toEqual(['2 + 2 = 4.', '2+2 it is']);
  await known.close();
});
