import { describe, expect, test } from 'vitest';
import { type Added, Answer } from '../../src/model/answer.js';
import { callHashOf } from '../../src/model/call_ids.js';
import type { TextTokenizer, Tool } from '../../src/model/types.js';
import { storyTokenizer } from '../server/story_model.js';

const end = 256;
const callHash = (call: number) => `${call}abc`.repeat(16);
const tools: Tool[] = [{ type: 'function', function: { name: 'time' } }];
const text = 'So:\n<tool_call>{"name":"time"}</tool_call>';

function answered(
  given: string,
  more: { tools?: Tool[]; stop?: string[]; maxTokens?: number } = {},
) {
  const answer = new Answer({
    tokenizer: storyTokenizer,
    template: '<tool_call>',
    prompt: [],
    callHash,
    endTokens: [end],
    maxTokens: 1000,
    minTokens: 0,
    stop: [],
    tools,
    ...more,
  });
  const pieces = [];
  for (const token of [...Buffer.from(given), end]) {
    pieces.push(answer.push(token));
    if (pieces.at(-1)?.finishReason !== undefined) break;
  }
  return {
    text: pieces.map((piece) => piece.text).join(''),
    calls: pieces.flatMap(({ toolCalls }) => toolCalls.map(({ name }) => name)),
    finishReason: pieces.at(-1)?.finishReason,
  };
}

describe('an answer with tools', () => {
  test('calls them, and ends because of that', () => {
    const called = { text: 'So:', calls: ['time'], finishReason: 'tool_calls' };
    expect(answered(text)).toEqual(called);
    expect(answered(text.replace('</tool_call>', ''))).toEqual(called);
  });

  test('without a call, and without tools, is text', () => {
    expect(answered('So: <tool')).toEqual({ text: 'So: <tool', calls: [], finishReason: 'stop' });
    expect(answered(text, { tools: [] })).toEqual({ text, calls: [], finishReason: 'stop' });
  });

  test('that is cut off ends because of that', () => {
    const cut = answered(text, { maxTokens: 20 });
    expect(cut).toEqual({ text: text.slice(0, 20), calls: [], finishReason: 'length' });
  });
});

/** Bytes, and words from 300 on, of which those with bars are special tokens. */
function wordTokenizer(words: readonly string[]): TextTokenizer {
  const special = (token: number) =>
    /[|｜]/.test(words[token - 300] ?? '') ? words[token - 300] : undefined;
  return {
    ...storyTokenizer,
    special,
    id: (text) => (words.includes(text) ? 300 + words.indexOf(text) : undefined),
    bytes: (token) =>
      token < 256
        ? Uint8Array.of(token)
        : new TextEncoder().encode(special(token) === undefined ? words[token - 300] : ''),
  };
}

/** An answer to the end of its tokens, the last of which ends it. */
function read(words: readonly string[], template: string, parts: readonly string[], more = {}) {
  const tokenizer = wordTokenizer(words);
  const tokens = parts.flatMap((part) => tokenizer.id(part) ?? [...Buffer.from(part)]);
  const options = { maxTokens: 1000, minTokens: 0, stop: [], tools, prompt: [], callHash, ...more };
  const answer = new Answer({ tokenizer, template, endTokens: [tokens.at(-1) ?? 0], ...options });
  const pieces: Added[] = [];
  while (pieces.at(-1)?.finishReason === undefined)
    pieces.push(answer.push(tokens[pieces.length] as number));
  return {
    text: pieces.map(({ text }) => text).join(''),
    reasoning: pieces.map(({ reasoning }) => reasoning).join(''),
    calls: pieces.flatMap(({ toolCalls }) => toolCalls.map(({ name }) => name)),
    finishReason: pieces.at(-1)?.finishReason,
  };
}

test('marks of calls that are special tokens are found, and are no text where there are no tools', () => {
  const inner = ['<｜tool▁call▁begin｜>', '<｜tool▁sep｜>', '<｜tool▁call▁end｜>'] as const;
  const words = [
    '<｜tool▁calls▁begin｜>',
    ...inner,
    '<｜tool▁calls▁end｜>',
    '<｜end｜>',
    '</think>',
  ];
  const [begin, call, sep, callEnd, end, eos, think] = words as [string, ...string[]];
  const parts = ['So', think, 'I', begin, call, 'time', sep, '{}', callEnd, end, eos] as string[];
  expect(read(words, `${begin}${think}`, parts)).toEqual({
    ...{ text: 'SoI', reasoning: '', calls: ['time'], finishReason: 'tool_calls' },
  });
  expect(read(words, `${begin}${think}`, parts, { tools: [] })).toEqual({
    ...{ text: 'SoItime{}', reasoning: '', calls: [], finishReason: 'stop' },
  });
});

test('a call in a channel ends the answer as calls do', () => {
  const words = ['start', 'channel', 'message', 'end', 'return', 'call', 'constrain'].map(
    (word) => `<|${word}|>`,
  );
  const thought = ['<|channel|>', 'analysis', '<|message|>', 'hm', '<|end|>'];
  const parts = [
    ...[...thought, '<|start|>', 'assistant to=functions.time', '<|channel|>', 'commentary'],
    ...['<|message|>', '{}', '<|call|>'],
  ];
  expect(read(words, '<|channel|>', parts)).toEqual({
    ...{ text: '', reasoning: 'hm', calls: ['time'], finishReason: 'tool_calls' },
  });
});

test('a stop string before `minTokens` is text, and so is what its token has behind it', () => {
  const parts = ['abxa', 'cabx', '<|end|>'];
  const stopped = read([...parts], '', parts, { stop: ['b'], minTokens: 1, tools: [] });
  expect(stopped).toMatchObject({ text: 'abxaca', finishReason: 'stop' });
});

test('ids of calls follow from what was asked, and are those of the form', () => {
  const prompt = Int32Array.of(1, 2, 3);
  const hash = callHashOf(prompt, { seed: 7n, choice: 0 });
  expect(callHashOf(prompt.slice(), { seed: 7n, choice: 0 })(0)).toBe(hash(0));
  const others = [
    hash(1),
    callHashOf(prompt, { seed: 8n, choice: 0 })(0),
    callHashOf(prompt, { seed: 7n, choice: 1 })(0),
    callHashOf(Int32Array.of(1, 2, 4), { seed: 7n, choice: 0 })(0),
  ];
  expect(new Set([hash(0), ...others]).size).toBe(5);
  const idsOf = (template: string, text: string) => {
    const options = { template, endTokens: [end], maxTokens: 1000, minTokens: 0, stop: [], tools };
    const answer = new Answer({ ...options, prompt, tokenizer: storyTokenizer, callHash: hash });
    return [...Buffer.from(text), end].flatMap((token) =>
      answer.push(token).toolCalls.map(({ id }) => id),
    );
  };
  const call = '<tool_call>{"name":"time"}</tool_call>';
  expect(idsOf('<tool_call>', call + call)).toEqual(
    [0, 1].map((at) => `call_${hash(at).slice(0, 32)}`),
  );
  expect(idsOf('[TOOL_CALLS]', '[TOOL_CALLS][{"name":"time"}]')).toEqual([hash(0).slice(0, 9)]);
});

test('an answer to a chat begins a text, which has no first space; what goes on with a prompt keeps it', () => {
  const tokenizer = { ...storyTokenizer, stripsFirstSpace: true };
  const said = (template: string | undefined, text: string) => {
    const options = { endTokens: [end], maxTokens: 1000, minTokens: 0, stop: [], tools: [] };
    const answer = new Answer({ ...options, template, prompt: [], tokenizer, callHash });
    return [...Buffer.from(text), end].map((token) => answer.push(token).text).join('');
  };
  expect(said('{{ messages }}', '  a b')).toBe(' a b');
  expect(said('{{ messages }}', 'a b')).toBe('a b');
  expect(said(undefined, ' a b')).toBe(' a b');
});
