import { describe, expect, test } from 'vitest';
import { Answer } from '../../src/model/answer.js';
import type { Tool } from '../../src/model/types.js';
import { storyTokenizer } from '../server/story_model.js';

const end = 256;
const tools: Tool[] = [{ type: 'function', function: { name: 'time' } }];
const text = 'So:\n<tool_call>{"name":"time"}</tool_call>';

function answered(
  given: string,
  more: { tools?: Tool[]; stop?: string[]; maxTokens?: number } = {},
) {
  const answer = new Answer({
    tokenizer: storyTokenizer,
    template: 'any',
    prompt: [],
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
