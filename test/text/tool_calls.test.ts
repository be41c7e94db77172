import { describe, expect, test } from 'vitest';
import { ToolCalls } from '../../src/text/tool_calls.js';
import type { Tool, ToolCallPiece } from '../../src/text/types.js';

const tools: Tool[] = [
  {
    type: 'function',
    function: {
      name: 'weather',
      parameters: {
        type: 'object',
        properties: {
          city: { type: 'string' },
          days: { type: 'integer' },
          zip: { type: 'string' },
        },
      },
    },
  },
];

/** What is read of a text that comes in pieces of so many characters. */
function read(text: string, size: number) {
  const calls = new ToolCalls(tools);
  let shown = '';
  const found: ToolCallPiece[] = [];
  const take = (piece: { text: string; toolCalls: readonly ToolCallPiece[] }) => {
    shown += piece.text;
    found.push(...piece.toolCalls);
  };
  for (let at = 0; at < text.length; at += size) take(calls.push(text.slice(at, at + size)));
  take(calls.end());
  expect(calls.called).toBe(found.length > 0);
  return {
    text: shown,
    calls: found.map(({ index, name, arguments: text }) => [index, name, text]),
  };
}

const json = '{"name": "weather", "arguments": {"city": "Bern", "days": 2}}';
const cases: [name: string, text: string, shown: string, ...calls: string[]][] = [
  ['no call', 'a < b, and <tool> is no call\n', 'a < b, and <tool> is no call\n'],
  ['JSON', `<tool_call>\n${json}\n</tool_call>`, '', '{"city":"Bern","days":2}'],
  [
    'text before',
    `Let me see.\n\n<tool_call>${json}</tool_call>\n`,
    'Let me see.',
    '{"city":"Bern","days":2}',
  ],
  [
    'two calls',
    `<tool_call>${json}</tool_call>\n<tool_call>{"name":"weather","arguments":"{}"}</tool_call>`,
    '',
    '{"city":"Bern","days":2}',
    '{}',
  ],
  ['no arguments', '<tool_call>{"name":"weather"}</tool_call>', '', '{}'],
  ['an end that is cut off by the end token', `<tool_call>${json}`, '', '{"city":"Bern","days":2}'],
  [
    'Qwen3-Coder',
    '<tool_call>\n<function=weather>\n<parameter=city>\nBern\nWest\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>',
    '',
    '{"city":"Bern\\nWest","days":2}',
  ],
  [
    'GLM, where text that looks like a number stays text',
    '<tool_call>weather\n<arg_key>zip</arg_key>\n<arg_value>3000</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>',
    '',
    '{"zip":"3000","days":2}',
  ],
  ['GLM without arguments', '<tool_call>weather\n</tool_call>', '', '{}'],
  [
    'what is no call stays text',
    'x <tool_call>{"name": }</tool_call> y',
    'x <tool_call>{"name": }</tool_call> y',
  ],
  ['half a call stays text', 'x\n<tool_call>{"name": "wea', 'x\n<tool_call>{"name": "wea'],
];

describe('calls of functions in a text', () => {
  test.each(cases)('%s', (_, text, shown, ...calls) => {
    for (const size of [1, 2, 7, text.length])
      expect([size, read(text, size)]).toEqual([
        size,
        { text: shown, calls: calls.map((one, index) => [index, 'weather', one]) },
      ]);
  });

  test('text is not held back longer than it may begin a call', () => {
    const calls = new ToolCalls(tools);
    expect(calls.push('Hello <').text).toBe('Hello');
    expect(calls.push('b> and').text).toBe(' <b> and');
    expect(calls.push(' <tool_call').text).toBe('');
    expect(calls.push('s> are').text).toBe(' <tool_calls> are');
  });

  test('every call has an id of its own', () => {
    const { toolCalls } = new ToolCalls(tools).push(`<tool_call>${json}</tool_call>`.repeat(2));
    expect(new Set(toolCalls.map(({ id }) => id)).size).toBe(2);
  });
});
