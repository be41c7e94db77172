// A small model that tells stories: whole in everything a server can see of a model, with words drawn by a hash of what it is asked.
import { setTimeout as sleep } from 'node:timers/promises';
import { ClosedError, ConfigError, DeviceError, ShapeError } from '../../src/base/errors.js';
import type {
  Chat,
  Completion,
  FinishReason,
  GenerateOptions,
  Piece,
  TextModel,
  TextTokenizer,
  TokenLogprob,
  ToolCallPiece,
} from '../../src/model/types.js';

/** Tokens from here on are words; below 256 they are bytes. */
const firstWord = 260;
const end = 256;
const begin = 257;
const words = ' the| a| fox| hen| runs| sleeps|,| and| then| over| old| hill|.| "so"| naïve| 狐|\n'
  .split('|')
  .map((word) => Buffer.from(word));
/** A fox of two tokens, neither of which is a character. */
const fox = Buffer.from(' 🦊');
words.push(fox.subarray(0, 3), fox.subarray(3));
const [foxBegin, foxEnd] = [firstWord + words.length - 2, firstWord + words.length - 1];

export const storyTokenizer: TextTokenizer = {
  size: firstWord + words.length,
  async encode(text, { specialTokens = true } = {}) {
    return Int32Array.from([...(specialTokens ? [begin] : []), ...Buffer.from(text)]);
  },
  decode: (tokens) => Buffer.concat(Array.from(tokens, bytesOf)).toString(),
  bytes: bytesOf,
  special: (token) => ({ [end]: '<end>', [begin]: '<begin>' })[token],
  id: (token) => ({ '<end>': end, '<begin>': begin })[token],
};

function bytesOf(token: number): Buffer {
  if (token < 256) return Buffer.from([token]);
  return words[token - firstWord] ?? Buffer.alloc(0);
}

/** 32 bits that look random, of any values. */
function hash(...values: unknown[]): number {
  let state = 2166136261;
  for (const byte of Buffer.from(JSON.stringify(values))) state = mix(state, byte);
  return state;
}

function mix(state: number, value: number): number {
  const mixed = Math.imul((state ^ value) >>> 0, 2246822519);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}

export interface StoryOptions {
  contextLength?: number;
  maxRunning?: number;
  maxWaiting?: number;
  /** Of a step, and of each 16 tokens of a prompt. */
  stepMs?: number;
  chatTemplate?: string | undefined;
}

interface Story {
  tokens: number[];
  /** What each token adds to the text that is shown. */
  texts: string[];
  finishReason: FinishReason;
  stopReason?: string | number;
}

/**
 * What a chat says decides what comes: `[think]` reasons first, `[call]` calls the tools, `[fail]` breaks after three tokens, `[wrong]` cannot be
 * asked, and `[lost]` loses the device.
 */
export class StoryModel implements TextModel {
  readonly modelType = 'story';
  readonly contextLength: number;
  readonly vocabularySize = storyTokenizer.size;
  readonly chatTemplate: string | undefined;
  readonly tokenizer = storyTokenizer;
  /** What was asked, and how many ended each way. */
  readonly asked: GenerateOptions[] = [];
  readonly ended = { whole: 0, aborted: 0, failed: 0 };
  /** Prompt tokens that were computed. */
  prefilled = 0;
  closed = false;
  readonly #limits: Required<Pick<StoryOptions, 'maxRunning' | 'maxWaiting' | 'stepMs'>>;
  readonly #seen: number[][] = [];
  readonly #queue: (() => void)[] = [];
  #running = 0;
  #tokensHeld = 0;
  readonly #load = [new Float64Array(0), new Float64Array(4)];

  constructor(options: StoryOptions = {}) {
    const { contextLength = 4096, maxRunning = 64, maxWaiting = 64, stepMs = 0 } = options;
    this.contextLength = contextLength;
    this.chatTemplate = 'chatTemplate' in options ? options.chatTemplate : 'a template';
    this.#limits = { maxRunning, maxWaiting, stepMs };
  }

  async applyTemplate({ messages, tools, chatTemplateOptions }: Chat) {
    const extra = [tools, chatTemplateOptions].map((one) => (one ? JSON.stringify(one) : ''));
    const turns = messages.map(({ role, content, tool_calls, tool_call_id }) => {
      const text = typeof content === 'string' ? content : (content ?? []).map((one) => one.text);
      const calls = (tool_calls ?? []).map((call) => call.function.arguments);
      return `<${role}>${text}${calls}${tool_call_id ?? ''}\n`;
    });
    return `${extra.join('')}${turns.join('')}<assistant>`;
  }

  async logprobs(tokens: ArrayLike<number>) {
    return Float32Array.from({ length: tokens.length - 1 }, (_, at) => -(tokens[at + 1] as number));
  }

  inUse() {
    const [running, waiting] = [this.#running, this.#queue.length];
    return { running, waiting, kvTokens: 4 * this.contextLength, kvTokensUsed: this.#tokensHeld };
  }

  load() {
    return this.#load;
  }

  async complete(options: GenerateOptions): Promise<Completion> {
    throw new Error(`a server streams, and does not complete ${JSON.stringify(options)}`);
  }

  async *generate(options: GenerateOptions): AsyncGenerator<Piece> {
    this.asked.push(options);
    let how: keyof StoryModel['ended'] = 'aborted';
    try {
      yield* this.#generate(options);
      how = 'whole';
    } catch (error) {
      if (!options.signal?.aborted) how = 'failed';
      throw error;
    } finally {
      this.ended[how]++;
    }
  }

  async *#generate(options: GenerateOptions): AsyncGenerator<Piece> {
    const { signal, messages } = options;
    if (this.closed) throw new ClosedError('The model is closed');
    signal?.throwIfAborted();
    const prompt = Array.from(await this.#promptOf(options));
    const asked = JSON.stringify(messages?.at(-1)?.content ?? options.prompt ?? '');
    if (asked.includes('[lost]'))
      throw new DeviceError('ERR_MOE_DEVICE_LOST', 'The device is lost');
    if (asked.includes('[wrong]')) throw new ConfigError('Expected `messages` to be right');
    const { maxTokens = this.contextLength - prompt.length } = options;
    if (prompt.length + maxTokens > this.contextLength)
      throw new ShapeError(
        `Expected a prompt and \`maxTokens\` of at most ${this.contextLength} tokens, got ${prompt.length} and ${maxTokens}`,
      );
    await this.#admitted(signal);
    this.#tokensHeld += prompt.length + maxTokens;
    try {
      const cached = this.#cached(prompt);
      for (let at = cached; at < prompt.length; at += 16) {
        await this.#step(signal);
        this.prefilled += Math.min(16, prompt.length - at);
      }
      this.#seen.push(prompt);
      const usage = { promptTokens: prompt.length, cachedTokens: cached };
      yield* this.#tell(storyOf(options, prompt, maxTokens), options, asked, usage);
    } finally {
      this.#tokensHeld -= prompt.length + maxTokens;
      this.#running--;
      this.#queue.shift()?.();
    }
  }

  async #promptOf({ prompt, tokens, ...rest }: GenerateOptions): Promise<ArrayLike<number>> {
    if (tokens !== undefined) return tokens;
    if (prompt !== undefined) return this.tokenizer.encode(prompt);
    return this.tokenizer.encode(await this.applyTemplate(rest as Chat), { specialTokens: false });
  }

  async #admitted(signal: AbortSignal | undefined): Promise<void> {
    const { maxRunning, maxWaiting } = this.#limits;
    if (this.#running >= maxRunning) {
      if (this.#queue.length >= maxWaiting)
        throw new DeviceError('ERR_MOE_QUEUE_FULL', `${this.#queue.length} sequences are waiting`);
      await new Promise<void>((resolve, reject) => {
        const leave = () => {
          this.#queue.splice(this.#queue.indexOf(enter), 1);
          reject(signal?.reason);
        };
        const enter = () => {
          signal?.removeEventListener('abort', leave);
          resolve();
        };
        this.#queue.push(enter);
        signal?.addEventListener('abort', leave, { once: true });
      });
    }
    this.#running++;
  }

  /** Whole blocks of 16 tokens that some prompt before began with. */
  #cached(prompt: readonly number[]): number {
    const common = this.#seen.map((one) => {
      const differs = prompt.findIndex((token, i) => token !== one[i]);
      return differs < 0 ? prompt.length - 1 : differs;
    });
    return Math.floor(Math.max(0, ...common) / 16) * 16;
  }

  async #step(signal: AbortSignal | undefined): Promise<void> {
    const { stepMs } = this.#limits;
    if (stepMs > 0) await sleep(stepMs, undefined, signal && { signal }).catch(() => undefined);
    else await new Promise(setImmediate);
    signal?.throwIfAborted();
  }

  async *#tell(
    { tokens, texts, finishReason, stopReason }: Story,
    { signal, tools, logprobs, seed = 1n }: GenerateOptions,
    asked: string,
    { promptTokens, cachedTokens }: { promptTokens: number; cachedTokens: number },
  ): AsyncGenerator<Piece> {
    const thoughts = asked.includes('[think]') ? Math.min(3, tokens.length - 1) : 0;
    const calls = asked.includes('[call]') ? (tools ?? []) : [];
    for (const [i, token] of tokens.entries()) {
      await this.#step(signal);
      if (asked.includes('[fail]') && i === 3) throw new Error('a fuse has blown');
      const [, experts] = this.#load;
      if (experts !== undefined) experts[token % 4] = (experts[token % 4] ?? 0) + 1;
      const last = i === tokens.length - 1;
      const text = texts[i] ?? '';
      yield {
        text: i >= thoughts && calls.length === 0 ? text : '',
        reasoning: i < thoughts ? text : '',
        toolCalls: i < thoughts || !last ? [] : calls.flatMap(callPieces),
        tokens: [token],
        ...(logprobs !== undefined && { logprobs: [logprobOf(token, logprobs, i)] }),
        ...(last && {
          finishReason: calls.length > 0 ? 'tool_calls' : finishReason,
          ...(stopReason !== undefined && { stopReason }),
          usage: {
            promptTokens,
            cachedTokens,
            completionTokens: tokens.length,
            reasoningTokens: thoughts,
          },
          seed: BigInt(seed),
        }),
      };
    }
  }
}

/** The call of a tool, in the pieces that a stream has. */
function callPieces({ function: { name } }: { function: { name: string } }, index: number) {
  const pieces: ToolCallPiece[] = [
    { index, id: `call_${index}`, name, arguments: '' },
    { index, arguments: '{"about":' },
    { index, arguments: `"${name}"}` },
  ];
  return pieces;
}

/** All that will be told; what ends it is known before it begins. */
function storyOf(options: GenerateOptions, prompt: readonly number[], maxTokens: number): Story {
  const { temperature = 1, seed = 0, choice = 0, ignoreEos = false, minTokens = 0 } = options;
  const drawn = temperature === 0 ? [] : [String(seed), choice, temperature, options.topK];
  const bias = Object.entries(options.logitBias ?? {}).find(([, value]) => value === 100);
  const stopTokens = [...(options.stopTokens ?? []), ...(ignoreEos ? [] : [end])];
  const tokens: number[] = [];
  const base = hash(prompt, drawn);
  while (tokens.length < maxTokens) {
    const draw = mix(mix(base, tokens.length), 7);
    let token = bias === undefined ? firstWord + (draw % (words.length - 1)) : Number(bias[0]);
    if (tokens.at(-1) === foxBegin) token = foxEnd;
    else if (draw % 40 === 0) token = end;
    if (stopTokens.includes(token) && tokens.length < minTokens) token = firstWord;
    tokens.push(token);
    if (stopTokens.includes(token)) {
      const stopReason = token === end ? {} : { stopReason: token };
      return { tokens, texts: textsOf(tokens.slice(0, -1)), finishReason: 'stop', ...stopReason };
    }
    const stop = [options.stop ?? []]
      .flat()
      .find((one) => storyTokenizer.decode(tokens).includes(one));
    if (stop === undefined) continue;
    const texts = textsOf(tokens);
    // What stands before the stop string is shown, and of the tokens that are a part of it nothing.
    let left = texts.join('').indexOf(stop);
    const cut = texts.map((text) => {
      const shown = text.slice(0, left);
      left -= shown.length;
      return shown;
    });
    return { tokens, texts: cut, finishReason: 'stop', stopReason: stop };
  }
  return { tokens, texts: textsOf(tokens), finishReason: 'length' };
}

function textsOf(tokens: readonly number[]): string[] {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return tokens.map((token, i) =>
    decoder.decode(bytesOf(token), { stream: i < tokens.length - 1 }),
  );
}

function logprobOf(token: number, count: number, place: number): TokenLogprob {
  const of = (one: number, nth: number) => ({
    token: one,
    text: bytesOf(one).toString(),
    bytes: Uint8Array.from(bytesOf(one)),
    logprob: -(mix(mix(one, place), 7) % 100) / 100 - nth,
  });
  const top = Array.from({ length: count }, (_, nth) =>
    of(nth === 0 ? token : firstWord + ((token + nth) % words.length), nth),
  );
  return { ...of(token, 0), top };
}
