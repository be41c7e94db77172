import { describe, expect, test } from 'vitest';
import { type CallForm, callFormOf } from '../../src/text/call_forms.js';
import { ToolCalls, tellingCalls, toolCallsOf } from '../../src/text/tool_calls.js';
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
          street: { anyOf: [{ type: 'string' }, { type: 'null' }] },
          floor: { type: ['string', 'null'] },
          unit: { enum: ['1', '2'] },
        },
      },
    },
  },
];

const formOf = (template: string) => callFormOf(template) as CallForm;

const hashOf = (call: number) => `${call}abc`.repeat(16);

/** Where a text is cut: into pieces of so many characters, or (0) anywhere. */
function cuts(text: string, size: number): string[] {
  const pieces: string[] = [];
  let state = text.length;
  for (let at = 0; at < text.length; at += pieces.at(-1)?.length ?? 1) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    pieces.push(text.slice(at, at + (size || 1 + ((state >>> 16) % 9))));
  }
  return pieces;
}

/** What is read of a text that comes in pieces. */
function read(form: CallForm, text: string, size: number) {
  const calls = new ToolCalls(form, tools, hashOf);
  let shown = '';
  const found: ToolCallPiece[] = [];
  const take = (piece: { text: string; toolCalls: readonly ToolCallPiece[] }) => {
    shown += piece.text;
    found.push(...piece.toolCalls);
  };
  for (const piece of cuts(text, size)) take(calls.push(piece));
  take(calls.end());
  return {
    text: shown,
    calls: found.map(({ index, name, arguments: text }) => [index, name, text]),
    ids: found.map(({ id }) => id as string),
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
  [
    'GLM, where a text may be null',
    `<tool_call>weather${['street', 'floor', 'unit'].map((key) => `<arg_key>${key}</arg_key><arg_value>1</arg_value>`).join('')}</tool_call><tool_call>weather<arg_key>street</arg_key><arg_value>null</arg_value></tool_call>`,
    '',
    '{"street":"1","floor":"1","unit":"1"}',
    '{"street":null}',
  ],
  ['GLM without arguments', '<tool_call>weather\n</tool_call>', '', '{}'],
  [
    'what is no call stays text',
    'x <tool_call>{"name": }</tool_call> y',
    'x <tool_call>{"name": }</tool_call> y',
  ],
  ...[
    '{"name": "wea',
    'weath',
    'weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>',
    'weather\n<arg_key>city</arg_key>\n<arg_value>Ber',
    '<function=weather>',
    '<function=weather>\n<parameter=city>\nBer',
    'weather\n<arg_key>city</arg_key>\n<arg_value>Ber</tool_call>',
    '<function=weather>lost<parameter=city>Bern</parameter></function></tool_call>',
    '<function=weather></function><function=weather></function></tool_call>',
    '{"name": "weather", "arguments": "{"}</tool_call>',
    '{"name": "weather", "arguments": [1]}</tool_call>',
  ].map((half): [string, string, string] => [
    `half a call stays text: ${half}`,
    `x\n<tool_call>${half}`,
    `x\n<tool_call>${half}`,
  ]),
  [
    'Qwen3-Coder, an end that is cut off by the end token',
    '<tool_call><function=weather><parameter=city>Zürich 🌦</parameter></function>',
    '',
    '{"city":"Zürich 🌦"}',
  ],
  [
    'a number that is longer than JavaScript keeps',
    '<tool_call>{"name":"weather","arguments":{"id":12345678901234567890,"x":1.50}}</tool_call>',
    '',
    '{"id":12345678901234567890,"x":1.50}',
  ],
];

const bern = '{"city": "Bern"}';
const [deepBegin, deepEnd] = ['<｜tool▁calls▁begin｜>', '<｜tool▁calls▁end｜>'];
const deep = (...calls: string[]) =>
  `${deepBegin}${calls.map((call) => `<｜tool▁call▁begin｜>${call}<｜tool▁call▁end｜>`).join('\n')}${deepEnd}`;
const fenced = `function<｜tool▁sep｜>weather\n\`\`\`json\n${bern}\n\`\`\``;
const kimiBegin = '<|tool_calls_section_begin|>';
const kimi = (...calls: string[]) =>
  `${kimiBegin}${calls.map((call) => `<|tool_call_begin|>${call}<|tool_call_end|>`).join('')}<|tool_calls_section_end|>`;
const kimiCall = (index: number) => `functions.weather:${index}<|tool_call_argument_begin|>${bern}`;
const list = `[{"name": "weather", "arguments": ${bern}}, {"name": "weather", "arguments": {}}]`;
const short = '{"city":"Bern"}';

const otherForms: [name: string, begin: string, text: string, shown: string, ...calls: string[]][] =
  [
    ['DeepSeek-V3', deepBegin, `Hm.\n${deep(fenced, fenced)}`, 'Hm.', bern, bern],
    ['DeepSeek-V3.1', deepBegin, deep(`weather<｜tool▁sep｜>${bern}`), '', bern],
    [
      'DeepSeek, cut off by the end token',
      deepBegin,
      deep(fenced).slice(0, -deepEnd.length),
      '',
      bern,
    ],
    [
      'DeepSeek, arguments that are no JSON',
      deepBegin,
      deep('weather<｜tool▁sep｜>{'),
      deep('weather<｜tool▁sep｜>{'),
    ],
    [
      'DeepSeek, text among the calls',
      deepBegin,
      `${deepBegin}x${deepEnd}`,
      `${deepBegin}x${deepEnd}`,
    ],
    ['Kimi', kimiBegin, `Hm.${kimi(kimiCall(0), kimiCall(1))}`, 'Hm.', bern, bern],
    [
      'DeepSeek, cut off before the arguments',
      deepBegin,
      `${deepBegin}<｜tool▁call▁begin｜>weather<｜tool▁sep｜>`,
      `${deepBegin}<｜tool▁call▁begin｜>weather<｜tool▁sep｜>`,
    ],
    ['DeepSeek, no arguments', deepBegin, deep('weather<｜tool▁sep｜>'), '', '{}'],
    ['Kimi, no call', kimiBegin, kimi('?'), kimi('?')],
    ['Mistral, a list', '[TOOL_CALLS]', `[TOOL_CALLS] ${list}`, '', short, '{}'],
    [
      'Mistral, names',
      '[TOOL_CALLS]',
      `Hm.[TOOL_CALLS]weather[ARGS]${bern}[TOOL_CALLS]weather${bern}`,
      'Hm.',
      bern,
      bern,
    ],
    ['Mistral, half a list', '[TOOL_CALLS]', '[TOOL_CALLS] [{"name', '[TOOL_CALLS] [{"name'],
    ['Mistral, brackets', '[TOOL_CALLS]', 'a[0] [TOOL', 'a[0] [TOOL'],
    ['Granite', '<|tool_call|>', `<|tool_call|>${list}`, '', short, '{}'],
    ['Granite, no list', '<|tool_call|>', '<|tool_call|>[1]', '<|tool_call|>[1]'],
  ];

const hermes = formOf('<tool_call>');
const all: typeof otherForms = [
  ...cases.map(([name, ...more]): (typeof otherForms)[number] => [
    `Hermes, ${name}`,
    hermes.begin,
    ...more,
  ]),
  ...otherForms,
];

describe('calls of functions in a text', () => {
  test.each(all)('%s', (_, begin, text, shown, ...calls) => {
    for (const size of [1, 2, 7, 0, text.length]) {
      const { ids, ...found } = read(formOf(`{{ '${begin}' }}`), text, size);
      expect([size, found]).toEqual([
        size,
        { text: shown, calls: calls.map((one, index) => [index, 'weather', one]) },
      ]);
      expect(new Set(ids).size).toBe(calls.length);
    }
  });

  test('text is not held back longer than it may begin a call', () => {
    const calls = new ToolCalls(hermes, tools, hashOf);
    expect(calls.push('Hello <').text).toBe('Hello');
    expect(calls.push('b> and').text).toBe(' <b> and');
    expect(calls.push(' <tool_call').text).toBe('');
    expect(calls.push('s> are').text).toBe(' <tool_calls> are');
  });

  test('ids are what templates take back: Kimi tells them itself, Mistral has nine letters and digits', () => {
    expect(read(formOf(kimiBegin), kimi(kimiCall(0), kimiCall(1)), 5).ids).toEqual([
      'functions.weather:0',
      'functions.weather:1',
    ]);
    for (const id of read(formOf('[TOOL_CALLS]'), `[TOOL_CALLS]${list}`, 5).ids)
      expect(id).toMatch(/^[0-9a-zA-Z]{9}$/);
  });
});

test('templates whose form of calls is known', () => {
  for (const begin of [...new Set(all.map(([, begin]) => begin)), '<|channel|>'])
    expect([begin, toolCallsOf(`{{ '${begin}' }}`)]).toEqual([begin, expect.any(String)]);
  expect(toolCallsOf('{{ messages[0].content }}')).toBeUndefined();
});

test('marks of calls are text even where they are special tokens, other special tokens are not', () => {
  const words = ['<|tool_call|>', '<|end|>'];
  const vocabulary = tellingCalls(
    {
      bytes: () => new Uint8Array(),
      special: (token) => words[token],
      id: (text) => (words.includes(text) ? words.indexOf(text) : undefined),
    },
    formOf('<|tool_call|>'),
  );
  const told = [0, 1].map((token) => new TextDecoder().decode(vocabulary.bytes(token)));
  expect(told).toEqual(['<|tool_call|>', '']);
  expect([vocabulary.special(0), vocabulary.special(1)]).toEqual([undefined, '<|end|>']);
});
