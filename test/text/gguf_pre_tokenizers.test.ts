import { Tokenizer } from '@huggingface/tokenizers';
import { expect, test } from 'vitest';
import { preTokenizers } from '../../src/text/gguf_pre_tokenizers.js';
import { tokenizerOfGguf } from '../../src/text/gguf_tokenizer.js';
import { byteLevel } from './byte_level.js';
import { metadataOf } from './gguf_metadata.js';

type Cut = (text: string) => string[];

const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };

/** The words of a tokenizer, as text. */
const cutBy =
  (tokenizer: Tokenizer): Cut =>
  (text) =>
    (tokenizer.pre_tokenizer?.(text) ?? []).map(
      (word: string) => tokenizer.decoder?.([word]) ?? '',
    );

/** Those of a GGUF file that names how it cuts. */
function cutOf(pre: string): Cut {
  const more = { 'tokenizer.ggml.pre': pre, 'tokenizer.ggml.bos_token_id': 0 };
  const { tokenizerJson, tokenizerConfig } = tokenizerOfGguf(metadataOf(byteLevel(), more));
  return cutBy(new Tokenizer(tokenizerJson, tokenizerConfig));
}

/** Those of a tokenizer.json with these before its bytes. */
const cutAs = (...pretokenizers: readonly object[]): Cut =>
  cutBy(new Tokenizer({ ...byteLevel(), pre_tokenizer: { type: 'Sequence', pretokenizers } }, {}));

const splits = (...patterns: readonly string[]): Cut =>
  cutAs(
    ...patterns.map((Regex) => ({
      ...{ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
    })),
    bytes,
  );

const { raw } = String;

/** How tokenizer.json of models with these names cut. */
const published: Readonly<Record<string, Cut>> = {
  'gpt-2': cutAs({ ...bytes, use_regex: true }),
  olmo: cutAs({ ...bytes, use_regex: true }),
  qwen2: splits(
    raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ),
  'llama-bpe': splits(
    raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ),
  glm4: splits(
    raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ),
  'gpt-4o': splits(
    raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ),
  'deepseek-v3': splits(
    raw`\p{N}{1,3}`,
    '[一-龥\u3040-ゟ゠-ヿ]+',
    `[!"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_\`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+`,
  ),
  'deepseek-coder': splits(
    '[\r\n]',
    raw`\s?\p{L}+`,
    raw`\s?\p{P}+`,
    '[一-龥ࠀ-一가-\uD7FF]+',
    raw`\p{N}`,
  ),
};

/** Texts of any characters that some pattern names. */
function randomTexts(count: number): string[] {
  let state = 11;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const characters = [
    ..."    \n\n\r\t\u00a0\u3000aabcstdveLRMTD''0123499.,!?/_-#<>$+^=~`|\"\\[]",
    ...'éÀǅß漢字かナ한ʕաႠ𝐀\u0301\u200d🏳️٣½',
  ];
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + next(40) }, () => characters[next(characters.length)]).join(''),
  );
}

test.each([...preTokenizers.keys()])('%s loses nothing of a text', (pre) => {
  const cut = cutOf(pre);
  for (const text of randomTexts(100)) expect(cut(text).join('')).toBe(text);
});

test.each(Object.entries(published))(
  '%s cuts as the tokenizer.json of its models',
  (pre, theirs) => {
    const ours = cutOf(pre);
    for (const text of randomTexts(400)) expect(ours(text)).toEqual(theirs(text));
  },
);

const sentence = "I'Ve 12345 HTTPGet's  été,\n\n 漢字かな日本/x";

test.each<[pre: string, words: string]>([
  ['refact', "I|'|Ve| |1|2|3|4|5| HTTPGet|'s| | été|,|\n\n| 漢字かな日本|/|x"],
  ['qwen2', "I|'Ve| |1|2|3|4|5| HTTPGet|'s| | été|,\n\n| 漢字かな日本|/x"],
  ['qwen35', "I|'Ve| |1|2|3|4|5| HTTPGet|'s| | été|,\n\n| 漢字かな日本|/x"],
  ['llama-bpe', "I|'Ve| |123|45| HTTPGet|'s| | été|,\n\n| 漢字かな日本|/x"],
  ['gpt-4o', "I'Ve| |123|45| HTTPGet's| | été|,\n\n| 漢字かな日本|/x"],
  ['tekken', "I|'Ve| |1|2|3|4|5| HTTPGet|'s| | été|,\n\n| 漢字かな日本|/x"],
  ['kimi-k2', "I'Ve| |123|45| HTTPGet's| | été|,\n\n| |漢字|かな|日本|/x"],
  ['deepseek-llm', "I|'|Ve| |12345| HTTPGet|'|s| | é|t|é|,|\n|\n| |漢字かな日本|/|x"],
  ['bailingmoe', "I|'Ve| |1|2|3|4|5| HTTPGet|'s| | été|,\n\n| 漢字かな日本|/x"],
  ['default', "I|'|Ve| |123|45| HTTPGet|'|s| | été|,|\n\n| 漢字かな日本|/|x"],
])('%s cuts into words', (pre, words) => {
  expect(cutOf(pre)(sentence).join('|')).toBe(words);
});

test('letters of DeepSeek’s first models are those of scripts with capitals, but for some', () => {
  const cut = cutOf('deepseek-llm');
  const joins = (letter: string) => cut(`é${letter}`).length === 1;
  expect([...'éЖʕꙀꭰﬀ𐐀𞤀'].filter((letter) => !joins(letter))).toEqual([]);
  expect([...'աꞐ𝐀ªʰꬰ'].filter(joins)).toEqual([]);
});
