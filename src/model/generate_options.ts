// What `generate` takes, checked and with its defaults.
import { randomBytes } from 'node:crypto';
import {
  expectArrayLike,
  expectInteger,
  expectNumber,
  expectObject,
  unexpected,
} from '../base/checks.js';
import { ConfigError, ShapeError } from '../base/errors.js';
import {
  abortSignal,
  boolean,
  choice,
  expectOptions,
  integer,
  number,
  other,
  type Rows,
} from '../base/rows.js';
import type { NativeSampling } from '../binding/model.js';
import type { Chat } from '../text/types.js';
import type { SamplingDefaults } from './generation.js';
import type { GenerateOptions, ScoreOptions } from './types.js';

const maxSeed = 2n ** 64n - 1n;
/** Tokens that an answer may have where nobody says. */
export const defaultMaxTokens = 2048;

const text = other((name, value) => {
  if (typeof value !== 'string') throw unexpected(name, 'text', value);
});
const ids = other((name, value) => expectTokenIds(name, value));
const objects = other((name, value) => {
  if (!Array.isArray(value)) throw unexpected(name, 'a list', value);
  for (const [index, each] of value.entries()) expectObject(`${name}[${index}]`, each);
});
const messages = other((name, value) => {
  if (!Array.isArray(value) || value.length === 0)
    throw unexpected(name, 'a list of messages', value);
  for (const [index, each] of value.entries()) {
    expectObject(`${name}[${index}]`, each);
    if (typeof each['role'] !== 'string')
      throw unexpected(`${name}[${index}].role`, 'text', each['role']);
  }
});
const object = other(expectObject);
const stops = other((name, value) => {
  for (const [index, each] of (Array.isArray(value) ? value : [value]).entries())
    if (typeof each !== 'string' || each === '')
      throw unexpected(
        Array.isArray(value) ? `${name}[${index}]` : name,
        'text that is not empty',
        each,
      );
});
const seed = other((name, value) => {
  const given = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof given !== 'bigint' || given < 0n || given > maxSeed)
    throw unexpected(name, 'an integer from 0 to 2^64 - 1 (above 2^53 a bigint)', value);
});
const biases = other((name, value) => {
  expectObject(name, value);
  for (const [token, bias] of Object.entries(value)) {
    expectInteger(`${name}.${token}`, Number(token), 0, 2 ** 31 - 1);
    if (bias !== -Infinity) expectNumber(`${name}.${token}`, bias);
  }
});

/** Everything about these options comes from here: names, checks, flags of the command line. */
export const generateRows: Rows<GenerateOptions> = {
  prompt: { kind: text },
  messages: { kind: messages },
  tokens: { kind: ids },
  tools: { kind: objects },
  chatTemplateOptions: { kind: object },
  specialTokens: { kind: choice(['escape', 'allow']) },
  maxTokens: {
    kind: integer(1),
    flag: {
      value: 'n',
      help: `tokens to generate at most (default: what there is room for, at most ${defaultMaxTokens})`,
    },
  },
  minTokens: { kind: integer(0) },
  temperature: {
    kind: number({ atLeast: 0 }),
    flag: { value: 't', help: "0: always the likeliest token (default: the checkpoint's, else 1)" },
  },
  topK: {
    kind: integer(0),
    flag: { value: 'k', help: "only of the k likeliest (default: the checkpoint's, else all)" },
  },
  topP: {
    kind: number({ above: 0, atMost: 1 }),
    flag: {
      value: 'p',
      help: "only of the likeliest with this probability (default: the checkpoint's, else 1)",
    },
  },
  minP: {
    kind: number({ atLeast: 0, atMost: 1 }),
    flag: {
      value: 'p',
      help: "only those with this share of the likeliest's probability (default: the checkpoint's, else 0)",
    },
  },
  repetitionPenalty: {
    kind: number({ above: 0 }),
    flag: {
      value: 'r',
      help: "above 1: tokens so far become unlikelier (default: the checkpoint's, else 1)",
    },
  },
  presencePenalty: { kind: number() },
  frequencyPenalty: { kind: number() },
  logitBias: { kind: biases },
  stop: { kind: stops },
  stopTokens: { kind: ids },
  ignoreEos: { kind: boolean, flag: { help: 'go on behind tokens that end a text' } },
  seed: { kind: seed },
  choice: { kind: integer(0, 2 ** 31 - 1) },
  logprobs: { kind: integer(0, 20) },
  signal: { kind: abortSignal },
};

/** Throws `ConfigError` unless the options are of `generate`. */
export function expectGenerateOptions(options: unknown): asserts options is GenerateOptions {
  expectOptions<GenerateOptions>('generate', options, generateRows);
  const { prompt, messages, tokens } = options;
  const given = [prompt, messages, tokens].filter((each) => each !== undefined).length;
  if (given !== 1)
    throw new ConfigError(
      `Expected one of \`prompt\`, \`messages\` and \`tokens\`, got ${given} of them`,
    );
  for (const name of ['tools', 'chatTemplateOptions', 'specialTokens'] as const)
    if (options[name] !== undefined && messages === undefined)
      throw unexpected(name, 'given with `messages`', options[name]);
}

const { messages: messagesRow, tools, chatTemplateOptions, specialTokens } = generateRows;

/** What a chat template reads. */
export const templateRows: Rows<Chat> = {
  messages: { ...messagesRow, required: true },
  ...{ tools, chatTemplateOptions, specialTokens },
};

export const scoreRows: Rows<ScoreOptions> = { signal: generateRows.signal };

/** What a model has, in tokens. */
export interface Room {
  readonly contextLength: number;
  /** Of the cache, of all sequences together. */
  readonly kvTokens: number;
}

/**
 * The tokens to make room for.
 *
 * @throws `ShapeError` where prompt and answer can never fit, `ConfigError` where there is no prompt
 */
export function newTokensOf(
  promptTokens: number,
  maxTokens: number | undefined,
  room: Room,
): number {
  const most = Math.min(room.contextLength, room.kvTokens);
  const limit = room.contextLength <= room.kvTokens ? 'the context' : 'the cache (kvTokens)';
  if (promptTokens === 0)
    throw new ConfigError('Expected a prompt of at least one token, got none');
  if (promptTokens >= most)
    throw new ShapeError(
      `Expected a prompt of less than the ${most} tokens of ${limit}, got ${promptTokens}`,
    );
  const left = most - promptTokens;
  if (maxTokens !== undefined && maxTokens > left)
    throw new ShapeError(
      `Expected a prompt and \`maxTokens\` of at most the ${most} tokens of ${limit}, got ${promptTokens} and ${maxTokens}`,
    );
  return maxTokens ?? Math.min(left, defaultMaxTokens);
}

/** @throws `ConfigError` unless these are ids of tokens, with a vocabulary those that the model has */
export function expectTokenIds(
  name: string,
  tokens: unknown,
  vocabularySize = 2 ** 31,
): asserts tokens is ArrayLike<number> {
  expectArrayLike(name, tokens, 'a list of token ids');
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] as number;
    // Names for all of a hundred thousand would take longer than a step.
    if (!(Number.isInteger(token) && token >= 0 && token < vocabularySize))
      expectInteger(`${name}[${i}]`, token, 0, vocabularySize - 1);
  }
}

/** How a sequence is sampled: what is asked for, else what the checkpoint says, else nothing special. */
export function samplingOf(
  options: GenerateOptions,
  defaults: SamplingDefaults,
  endTokens: readonly number[],
  vocabulary: number,
): NativeSampling {
  const of = <Name extends keyof SamplingDefaults>(name: Name, otherwise: number): number =>
    options[name] ?? defaults[name] ?? otherwise;
  const bias = Object.entries(options.logitBias ?? {});
  return {
    temperature: of('temperature', 1),
    topK: of('topK', 0),
    topP: of('topP', 1),
    minP: of('minP', 0),
    repetitionPenalty: of('repetitionPenalty', 1),
    presencePenalty: options.presencePenalty ?? 0,
    frequencyPenalty: options.frequencyPenalty ?? 0,
    biasTokens: Int32Array.from(bias, ([token]) => Number(token)),
    biasValues: Float32Array.from(bias, ([, value]) => value),
    stopTokens: Int32Array.from(endTokens),
    minTokens: options.minTokens ?? 0,
    vocabulary,
    seed: options.seed === undefined ? randomBytes(8).readBigUInt64LE() : BigInt(options.seed),
    choice: options.choice ?? 0,
    logprobs: options.logprobs ?? -1,
  };
}

/** The tokens that end a text. */
export function endTokensOf(
  options: GenerateOptions,
  ofModel: readonly number[],
): readonly number[] {
  return [...(options.ignoreEos === true ? [] : ofModel), ...(options.stopTokens ?? [])];
}
