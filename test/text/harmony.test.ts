import { describe, expect, test } from 'vitest';
import { channelsOf } from '../../src/text/channels.js';
import { Detokenizer } from '../../src/text/detokenizer.js';

const [constrain, channel, start, end, message, ret, call] = [
  200003, 200005, 200006, 200007, 200008, 200002, 200012,
];
const marks = new Map([
  [constrain, '<|constrain|>'],
  [channel, '<|channel|>'],
  [start, '<|start|>'],
  [end, '<|end|>'],
  [message, '<|message|>'],
  [ret, '<|return|>'],
  [call, '<|call|>'],
]);
/** Those of o200k_harmony's words that the example of the format's description needs. */
const words = new Map<number, string>([
  ...([
    [35644, 'analysis'],
    [17196, 'final'],
    [173781, 'assistant'],
    [1844, 'User'],
  ] as const),
  ...([
    [31064, ' asks'],
    [25, ':'],
    [392, ' "'],
    [4827, 'What'],
    [382, ' is'],
    [220, ' '],
  ] as const),
  ...([
    [17, '2'],
    [659, ' +'],
    [16842, '?"'],
    [12295, ' Simple'],
    [81645, ' arithmetic'],
  ] as const),
  ...([
    [13, '.'],
    [51441, ' Provide'],
    [6052, ' answer'],
    [314, ' ='],
    [19, '4'],
  ] as const),
]);
const harmony = '<|start|><|channel|>';

/** Words of the example, and bytes from 1000000 on. */
const vocabulary = {
  bytes: (token: number) =>
    token >= 1000000
      ? Uint8Array.of(token - 1000000)
      : new TextEncoder().encode(words.get(token) ?? ''),
  special: (token: number) => marks.get(token),
  id: (text: string) => [...marks].find(([, mark]) => mark === text)?.[0],
};

function tokensOf(text: string): number[] {
  const parts = text.split(/(<\|\w+\|>)/);
  return parts.flatMap(
    (part) => vocabulary.id(part) ?? [...Buffer.from(part)].map((byte) => 1000000 + byte),
  );
}

function read(
  tokens: readonly number[],
  { prompt = tokensOf('<|start|>assistant'), isCut = false } = {},
) {
  const channels = channelsOf(vocabulary, harmony, prompt, (call) => `${call}`.repeat(64));
  const reasons: boolean[] = [];
  const pieces = tokens.map((token) => {
    const piece = channels.push(token);
    reasons.push(channels.reasons);
    return piece;
  });
  pieces.push(channels.end(isCut));
  return {
    text: pieces.map(({ text }) => text).join(''),
    reasoning: pieces.map(({ reasoning }) => reasoning).join(''),
    calls: pieces.flatMap(({ toolCalls }) =>
      toolCalls.map(({ index, name, arguments: given }) => [index, name, given]),
    ),
    reasons,
  };
}

test('the example of the format', () => {
  const tokens = [
    ...[channel, 35644, message, 1844, 31064, 25, 392, 4827, 382, 220, 17, 659, 220, 17, 16842],
    ...[12295, 81645, 13, 51441, 6052, 13, end, start, 173781, channel, 17196, message, 17, 659],
    ...[220, 17, 314, 220, 19, 13, ret],
  ];
  const { reasons, ...found } = read(tokens);
  expect(found).toEqual({
    reasoning: 'User asks: "What is 2 + 2?" Simple arithmetic. Provide answer.',
    text: '2 + 2 = 4.',
    calls: [],
  });
  expect(reasons.indexOf(true)).toBe(tokens.indexOf(message));
  expect(reasons.lastIndexOf(true)).toBeLessThan(tokens.lastIndexOf(message));
});

const given = '{"city": "Zürich"}';
const cases: [string, string, { text?: string; reasoning?: string; calls?: unknown[] }][] = [
  [
    'a call whose recipient is in the channel',
    `<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>${given}<|call|>`,
    { reasoning: 'hm', calls: [[0, 'weather', given]] },
  ],
  [
    'a call whose recipient is in the role, at once',
    ` to=functions.weather<|channel|>commentary<|constrain|>json<|message|>${given}<|call|>`,
    { calls: [[0, 'weather', given]] },
  ],
  [
    'a recipient that the type follows without a space',
    `<|channel|>commentary to=functions.weather<|constrain|>json<|message|>${given}`,
    { calls: [[0, 'weather', given]] },
  ],
  [
    'two calls and a preamble',
    `<|channel|>commentary<|message|>I look.<|end|>${`<|start|>assistant to=functions.a<|channel|>commentary<|message|>{}<|call|>`.repeat(2)}`,
    {
      text: 'I look.',
      calls: [
        [0, 'a', '{}'],
        [1, 'a', '{}'],
      ],
    },
  ],
  [
    'a call without arguments',
    '<|channel|>commentary to=functions.now<|message|><|call|>',
    { calls: [[0, 'now', '{}']] },
  ],
  [
    'a call that is cut off stays text',
    '<|channel|>commentary to=functions.now<|message|>{"a": ',
    { text: '{"a": ' },
  ],
  [
    'a call of what is no function',
    '<|channel|>commentary to=python<|message|>1 + 1<|call|>',
    { reasoning: '1 + 1' },
  ],
  ['no header at all', 'Hello.<|return|>', { text: 'Hello.' }],
  ['a header without a channel', '<|message|>Hello.<|return|>', { text: 'Hello.' }],
  [
    'a header that is cut off',
    '<|channel|>final<|message|>Hello.<|end|><|start|>assistant',
    { text: 'Hello.' },
  ],
];

describe('messages of harmony', () => {
  test('a call that is cut off before its arguments is none, unlike one that its model ends there', () => {
    const begun = tokensOf('<|channel|>commentary to=functions.now<|message|>');
    expect(read(begun, { isCut: true })).toMatchObject({ text: '', calls: [] });
    expect(read(begun).calls).toEqual([[0, 'now', '{}']]);
    const whole = [...begun, ...tokensOf('{}')];
    expect(read(whole, { isCut: true }).calls).toEqual([[0, 'now', '{}']]);
  });

  test.each(cases)('%s', (_, answer, found) => {
    expect(read(tokensOf(answer))).toMatchObject({ text: '', reasoning: '', calls: [], ...found });
  });

  test('what marks say as text is text', () => {
    const answer = tokensOf('<|channel|>final<|message|>');
    const forged = [...Buffer.from('<|channel|>analysis')].map((byte) => 1000000 + byte);
    expect(read([...answer, ...forged]).text).toBe('<|channel|>analysis');
  });

  test('a character that a mark cuts off is told as lost', () => {
    const cut = [...tokensOf('<|channel|>final<|message|>'), 1000000 + 0xc3, ret];
    const stream = new Detokenizer(vocabulary);
    expect(read(cut).text).toBe(stream.push(1000000 + 0xc3) + stream.end());
  });
});
