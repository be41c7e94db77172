import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, test } from 'vitest';
import { generationOf } from '../../src/model/generation.js';
import { ChatTemplate } from '../../src/text/chat_template.js';
import { Detokenizer } from '../../src/text/detokenizer.js';
import { tokenizerOfGguf } from '../../src/text/gguf_tokenizer.js';
import { CheckpointTokenizer } from '../../src/text/tokenizer.js';
import { byteLevel, pieces, special } from './byte_level.js';
import { metadataOf, piecesOf, trainedPieces } from './gguf_metadata.js';

type Metadata = ReadonlyMap<string, unknown>;

const key = (name: string) => `tokenizer.ggml.${name}`;

const texts = [
  'the hen',
  ' the  hen ',
  "I've 12345 words, don't I? 'LL see",
  '漢字かな交じり文 한국어 1９',
  'é — 🏳️‍🌈 a\u0301 👩‍👩‍👧',
  '\uFEFFbom\u0085\u00a0x',
  '\n\n\tab\r\n  \n c   ',
  'x <think>a</think><|im_start|>user\nhe<|im_end|>',
  '<s>ab</s> <unk> <0x41>',
  '\u0000\u007f\uffff',
  '▁a b▁ab',
];

const any = [
  ..."  \n\t'abhestEST09.,!<|>_▁éß漢字か한🏳🌈\u0301\u200d",
  ...['<think>', '<|end|>', '</s>'],
];

/** Texts of characters, special tokens among them. */
function randomTexts(count: number, characters: readonly string[] = any): string[] {
  let state = 7;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + next(30) }, () => characters[next(characters.length)]).join(''),
  );
}

const libraryOf = (metadata: Metadata) => {
  const { tokenizerJson, tokenizerConfig } = tokenizerOfGguf(metadata);
  // As a file of it would be.
  const [json, config] = JSON.parse(JSON.stringify([tokenizerJson, tokenizerConfig]));
  return new Tokenizer(json, config);
};

/** A byte-level tokenizer with merges over letters, spaces and digits, whose words are cut as Qwen's are. */
function merging(pattern: string) {
  const tokenizer = byteLevel() as { model: { vocab: Record<string, number>; merges: string[] } };
  const { vocab, merges } = tokenizer.model;
  for (const merge of [
    'Ġ t',
    'Ġt he',
    'Ġ h',
    '1 2',
    '3 4',
    '12 34',
    'Ġ Ġ',
    'Ċ Ċ',
    "' v",
    "'v e",
    '! !',
  ]) {
    merges.push(merge);
    vocab[merge.replace(' ', '')] = 300 + merges.length;
  }
  return {
    ...tokenizer,
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
  };
}

/** Of tokenizer.json of Qwen2 and 3. */
const qwen2 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

describe.each<[string, () => Record<string, unknown>, Record<string, unknown>]>([
  ['BPE of bytes', () => merging(qwen2), { [key('pre')]: 'qwen2' }],
  [
    'SentencePiece',
    pieces,
    {
      [key('model')]: 'llama',
      [key('scores')]: Array.from({ length: 265 }, (_, id) => 259 - id),
    },
  ],
])('%s', (_, make, more) => {
  test('has the ids and the texts of the tokenizer.json that it was written from', () => {
    const tokenizer = make();
    const theirs = new Tokenizer(tokenizer, {});
    const ours = libraryOf(metadataOf(tokenizer, more));
    for (const text of [...texts, ...randomTexts(500)])
      for (const add_special_tokens of [true, false]) {
        const { ids } = theirs.encode(text, { add_special_tokens });
        expect([text, ours.encode(text, { add_special_tokens }).ids]).toEqual([text, ids]);
        for (const skip_special_tokens of [true, false]) {
          const how = { skip_special_tokens, clean_up_tokenization_spaces: false };
          expect(ours.decode(ids, how)).toBe(theirs.decode(ids, how));
        }
      }
  });

  test('streams the texts that it encoded', async () => {
    const tokenizer = CheckpointTokenizer.of('made up', tokenizerOfGguf(metadataOf(make(), more)));
    for (const text of ['', 'the hen', '  é 漢 🏳️‍🌈\n', ...randomTexts(20)]) {
      const plain = text.replaceAll(/<\|end\|>|<\/s>|▁/g, '').normalize('NFC');
      const stream = new Detokenizer(tokenizer);
      const tokens = [...(await tokenizer.encode(plain))];
      const streamed = tokens.map((token) => stream.push(token)).join('') + stream.end();
      expect(tokenizer.stripsFirstSpace ? streamed.slice(1) : streamed).toBe(plain);
      expect(tokenizer.decode(tokens)).toBe(plain);
    }
    await tokenizer.close();
  });
});

describe('SentencePiece', () => {
  // Words whose letters may be put together in many ways.
  const corpus = randomTexts(200, [...'aabehst'])
    .map((word) => word.slice(0, 12))
    .join(' ');
  const trained = trainedPieces(corpus, 340);

  test('puts neighbours together whose token has the highest score', () => {
    const ours = libraryOf(trained);
    for (const text of [corpus, ' a  b ', ...texts.slice(0, 7), ...randomTexts(300)]) {
      const plain = text.replaceAll(/<\/?\w+>/g, '');
      if (plain === '') continue;
      expect([plain, ours.encode(plain).ids]).toEqual([plain, [1, ...piecesOf(trained, plain)]]);
    }
  });

  test('never puts a control token together', () => {
    const types = Int32Array.from(trained.get(key('token_type')) as Int32Array);
    const { ids, tokens } = libraryOf(trained).encode(corpus);
    const word = ids[tokens.findIndex((text: string) => /^▁../.test(text))] as number;
    types[word] = 3;
    const without = libraryOf(new Map([...trained, [key('token_type'), types]]));
    expect(without.encode(corpus).ids).not.toContain(word);
    expect(without.decode(without.encode(corpus).ids, { skip_special_tokens: true })).toBe(corpus);
  });

  test('begins with a space only where the file says so', () => {
    const unprefixed = new Map([...trained, [key('add_space_prefix'), false]]);
    const of = (metadata: Metadata) =>
      CheckpointTokenizer.of('made up', tokenizerOfGguf(metadata)).stripsFirstSpace;
    expect([of(trained), of(unprefixed)]).toEqual([true, false]);
    const joined = (metadata: Metadata) =>
      libraryOf(metadata).encode('the', { add_special_tokens: false }).tokens.join('');
    expect([joined(trained), joined(unprefixed)]).toEqual(['▁the', 'the']);
  });
});

const bytes = (more: Record<string, unknown> = {}) =>
  metadataOf(byteLevel(), { [key('pre')]: 'gpt-2', ...more });
const idOf = (text: string) => 258 + special.indexOf(text);
const ids = {
  [key('bos_token_id')]: idOf('<|start|>'),
  [key('eos_token_id')]: BigInt(idOf('<|im_end|>')),
};

test.each<[string, Record<string, unknown>, boolean, boolean]>([
  ['nothing is said', {}, false, false],
  ['a beginning is said', { [key('add_bos_token')]: true }, true, false],
  ['an end is said', { [key('add_eos_token')]: true }, false, true],
  ['the words are Llama 3’s', { [key('pre')]: 'llama-bpe' }, true, false],
  [
    'it is said against Llama 3',
    { [key('pre')]: 'llama-bpe', [key('add_bos_token')]: false },
    false,
    false,
  ],
])('special tokens are added as llama.cpp adds them where %s', (_, more, begins, ends) => {
  const library = libraryOf(bytes({ ...ids, ...more }));
  expect(library.encode('the').ids).toEqual([
    ...(begins ? [idOf('<|start|>')] : []),
    257,
    ...(ends ? [idOf('<|im_end|>')] : []),
  ]);
  expect(library.encode('the', { add_special_tokens: false }).ids).toEqual([257]);
  const pair = library.encode('the', { text_pair: 'he' }).ids;
  expect(pair.filter((id: number) => id < 258)).toEqual([257, 256]);
});

test('a word that is a token is that token where its models have it so', () => {
  const tokenizer = byteLevel() as { model: { vocab: Record<string, number> } };
  Object.assign(tokenizer.model.vocab, { hen: 266 });
  const encoded = (pre: string) => {
    const more = { ...ids, [key('pre')]: pre };
    return libraryOf(metadataOf(tokenizer, more)).encode('hen', { add_special_tokens: false }).ids;
  };
  expect([encoded('llama-bpe'), encoded('qwen2')]).toEqual([[266], [256, 110]]);
});

test('tokens are special, text or nothing by their types', async () => {
  const metadata = bytes({ [key('padding_token_id')]: 0 });
  const texts = metadata.get(key('tokens')) as string[];
  texts.push('[PAD266]', '', '');
  const types = metadata.get(key('token_type')) as Int32Array;
  metadata.set(key('token_type'), Int32Array.from([...types, 5, 1, 1]));
  const files = tokenizerOfGguf(metadata);
  const tokenizer = CheckpointTokenizer.of('made up', files);
  expect(tokenizer.special(idOf('<|start|>'))).toBe('<|start|>');
  expect(tokenizer.special(264)).toBeUndefined();
  expect(Buffer.from(tokenizer.bytes(264)).toString()).toBe('<think>');
  expect([tokenizer.id('[PAD266]'), tokenizer.size]).toEqual([undefined, 266]);
  expect([...(await tokenizer.encode('<think>[PAD266]'))]).toHaveLength(1 + '[PAD266]'.length);
  await tokenizer.close();
});

test('a token may have any name', async () => {
  const metadata = bytes();
  const more = ['__proto__', 'constructor'];
  (metadata.get(key('tokens')) as string[]).push(...more);
  metadata.set(
    key('token_type'),
    Int32Array.from([...(metadata.get(key('token_type')) as Int32Array), 3, 4]),
  );
  const tokenizer = CheckpointTokenizer.of('made up', tokenizerOfGguf(metadata));
  expect([...(await tokenizer.encode('__proto__constructor'))]).toEqual([266, 267]);
  expect(more.map((text) => tokenizer.id(text))).toEqual([266, 267]);
  await tokenizer.close();
});

describe('tokens that end an answer', () => {
  const ended = (more: Record<string, unknown>, metadata = bytes(more)) => {
    const { generationConfig } = tokenizerOfGguf(metadata);
    return generationOf({}, { ...generationConfig }, 1000).endTokens;
  };

  test('are those of the file, and those whose text says so', () => {
    expect(ended({})).toEqual([idOf('<|im_end|>'), idOf('<|end|>')]);
    expect(
      ended({ [key('eos_token_id')]: 5, [key('eot_token_id')]: 7, [key('eom_token_id')]: 6 }),
    ).toEqual([5, 7, 6, idOf('<|im_end|>'), idOf('<|end|>')]);
  });

  test('are not what ends a message of gpt-oss', () => {
    const tokenizer = byteLevel() as { added_tokens: object[] };
    for (const [index, content] of ['<|return|>', '<|call|>'].entries())
      tokenizer.added_tokens.push({ id: 266 + index, content, special: true });
    const said = { [key('pre')]: 'gpt-4o', [key('eot_token_id')]: idOf('<|end|>') };
    expect(ended({}, metadataOf(tokenizer, said))).toEqual([idOf('<|im_end|>'), 266, 267]);
  });
});

test('chat templates are those of the file, with special tokens as variables', async () => {
  const file = (more: Record<string, unknown>) =>
    CheckpointTokenizer.of('made up', tokenizerOfGguf(bytes({ ...ids, ...more })));
  const one = file({ 'tokenizer.chat_template': '{{ bos_token }}{{ messages[0].content }}' });
  const two = file({
    'tokenizer.chat_templates': ['tool_use'],
    'tokenizer.chat_template': 'plain',
    'tokenizer.chat_template.tool_use': 'tools',
  });
  const messages = [{ role: 'user', content: 'hi' }];
  expect((await ChatTemplate.of(one)?.render({ messages }))?.join('')).toBe('<|start|>hi');
  const tools = [{ type: 'function', function: { name: 'f' } }] as const;
  expect(await ChatTemplate.of(two)?.render({ messages })).toEqual(['plain']);
  expect(await ChatTemplate.of(two)?.render({ messages, tools })).toEqual(['tools']);
  expect(ChatTemplate.of(file({}))).toBeUndefined();
  await Promise.all([one, two].map((tokenizer) => tokenizer.close()));
});

describe('metadata that cannot be', () => {
  const scores = { [key('model')]: 'llama', [key('scores')]: new Float32Array(266) };
  const cases: [string, Record<string, unknown>, RegExp][] = [
    [
      'no model',
      { [key('model')]: undefined },
      /`tokenizer\.ggml\.model` to be 'gpt2'.*got `undefined`/,
    ],
    [
      'another model',
      { [key('model')]: 't5' },
      /'llama' \(SentencePiece\), got `t5` \(string\): give the model's own tokenizer\.json/,
    ],
    ['no model of text', { [key('model')]: 3 }, /`tokenizer\.ggml\.model` to be a text, got `3`/],
    [
      'no words',
      { [key('pre')]: undefined },
      /`tokenizer\.ggml\.pre` to be a way .* got `undefined`: give/,
    ],
    [
      'other words',
      { [key('pre')]: 'qwen99' },
      /`tokenizer\.ggml\.pre` to be a way .* got `qwen99`.*give the model's own/,
    ],
    [
      'no tokens',
      { [key('tokens')]: undefined },
      /`tokenizer\.ggml\.tokens` to be a list of texts/,
    ],
    [
      'tokens that are none',
      { [key('tokens')]: [1] },
      /`tokenizer\.ggml\.tokens` to be a list of texts/,
    ],
    [
      'no types',
      { [key('token_type')]: undefined },
      /`tokenizer\.ggml\.token_type` to be 266 numbers/,
    ],
    [
      'too few types',
      { [key('token_type')]: new Int32Array(3) },
      /`tokenizer\.ggml\.token_type` to be 266 numbers/,
    ],
    [
      'unknown types',
      { [key('token_type')]: new Int32Array(266).fill(7) },
      /`tokenizer\.ggml\.token_type\[0\]` to be from 0 to 6/,
    ],
    [
      'no merges',
      { [key('merges')]: undefined },
      /`tokenizer\.ggml\.merges` to be a list of texts/,
    ],
    [
      'a merge of one',
      { [key('merges')]: ['h e', 'the'] },
      /`tokenizer\.ggml\.merges\[1\]` to be two tokens/,
    ],
    [
      'a merge of three',
      { [key('merges')]: ['t h e'] },
      /`tokenizer\.ggml\.merges\[0\]` to be two tokens/,
    ],
    [
      'a merge to no token',
      { [key('merges')]: ['h h'] },
      /`tokenizer\.ggml\.merges\[0\]`.*got `h h`/,
    ],
    [
      'no such token',
      { [key('eos_token_id')]: 266 },
      /`tokenizer\.ggml\.eos_token_id` to be a token from 0 to 265/,
    ],
    [
      'half a token',
      { [key('eot_token_id')]: 0.5 },
      /`tokenizer\.ggml\.eot_token_id` to be a token/,
    ],
    [
      'a token in letters',
      { [key('eot_token_id')]: '5' },
      /`tokenizer\.ggml\.eot_token_id` to be a token/,
    ],
    [
      'no beginning',
      { [key('add_bos_token')]: true },
      /`tokenizer\.ggml\.bos_token_id` to be the token that is added/,
    ],
    [
      'no yes or no',
      { [key('add_eos_token')]: 1 },
      /`tokenizer\.ggml\.add_eos_token` to be true or false/,
    ],
    [
      'a template that is none',
      { 'tokenizer.chat_template': 1 },
      /`tokenizer\.chat_template` to be a text/,
    ],
    [
      'no scores',
      { ...scores, [key('scores')]: undefined },
      /`tokenizer\.ggml\.scores` to be 266 numbers/,
    ],
    [
      'scores that are none',
      { ...scores, [key('scores')]: new Float32Array(266).fill(NaN) },
      /`tokenizer\.ggml\.scores` to be 266 numbers/,
    ],
  ];
  test.each(cases)('%s', (_, more, message) => {
    expect(() => tokenizerOfGguf(bytes(more))).toThrow(message);
  });

  test('the same text twice', () => {
    const metadata = bytes();
    const twice = [...(metadata.get(key('tokens')) as string[])];
    twice[5] = twice[4] as string;
    metadata.set(key('tokens'), twice);
    expect(() => tokenizerOfGguf(metadata)).toThrow(
      /tokens\[5\]` to be another text than that of 4/,
    );
  });
});
