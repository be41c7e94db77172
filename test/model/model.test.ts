import { getEventListeners } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { MoEModel } from '../../src/model/model.js';
import type { GenerateOptions, Piece } from '../../src/model/types.js';
import { root } from '../fixtures/command_line.js';

const checkpoint = join(root, 'test/data/tiny-mixtral');
const model = await MoEModel.load(checkpoint);
afterAll(() => model.close());

/** The same numbers in every run. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function pieces(options: GenerateOptions, on: MoEModel = model): Promise<Piece[]> {
  const all: Piece[] = [];
  for await (const piece of on.generate(options)) all.push(piece);
  return all;
}

test('pieces put together are the whole answer', async () => {
  const options = { prompt: 'And God said, é', maxTokens: 40, seed: 5, logprobs: 2 };
  const all = await pieces(options);
  const whole = await model.complete(options);
  expect(all.map(({ text }) => text).join('')).toBe(whole.text);
  expect(all.flatMap(({ tokens }) => tokens)).toEqual(whole.tokens);
  expect(model.tokenizer.decode(whole.tokens)).toBe(whole.text);
  expect(whole).toMatchObject({ finishReason: 'length', seed: 5n, reasoning: '', toolCalls: [] });
  expect(whole.usage).toMatchObject({ promptTokens: 16, completionTokens: 40, reasoningTokens: 0 });
  expect(whole.logprobs).toHaveLength(40);
});

describe.each(['float32', 'bfloat16', 'int8'] as const)('with %s keys and values', (kvType) => {
  test('a request has the same text and log-probabilities alone and among others, whatever is in the cache', async () => {
    const random = randomOf(kvType.length);
    const bible =
      'In the beginning God created the heaven and the earth. And the earth was without form. ';
    const options = Array.from(
      { length: 24 },
      (_, i): GenerateOptions => ({
        prompt: bible.slice(0, 1 + random(bible.length)) + (random(2) === 0 ? 'def f(x): ' : ''),
        maxTokens: 1 + random(60),
        temperature: i % 3 === 0 ? 0 : 0.5 + random(10) / 10,
        ...(i % 4 === 0 && { topK: 1 + random(20), repetitionPenalty: 1.2, minP: 0.01 }),
        ...{ topP: 0.5 + random(5) / 10, seed: i % 5, logprobs: 3 },
      }),
    );
    const told = ({ text, tokens, logprobs }: Awaited<ReturnType<MoEModel['complete']>>) => ({
      text,
      tokens,
      logprobs,
    });
    const fresh = await MoEModel.load(checkpoint, { kvType, prefixCache: false, threads: 1 });
    const alone = [];
    for (const each of options) alone.push(told(await fresh.complete(each)));
    await fresh.close();
    const busy = await MoEModel.load(checkpoint, { kvType, kvTokens: 1024 });
    for (let round = 0; round < 2; round++) {
      const together = await Promise.all(options.map((each) => busy.complete(each)));
      expect(together.map(told)).toEqual(alone);
      const cached = together.map(({ usage }) => usage.cachedTokens);
      if (round === 1) expect(Math.max(...cached)).toBeGreaterThan(0);
    }
    expect(busy.inUse()).toMatchObject({ running: 0, waiting: 0, kvTokens: 1024, kvTokensUsed: 0 });
    await busy.close();
  });
});

describe('prompts that begin alike and come together', () => {
  const common =
    'And the LORD spake unto Moses, saying, Speak unto the children of Israel, and say: ';
  const endings = ['', 'Go', 'x'.repeat(20), 'Go', ''];
  // Their tokens: texts would come one after another, as they are encoded.
  const options = endings.map(
    (ending, choice): GenerateOptions => ({
      ...{ tokens: Buffer.from(common + ending), maxTokens: 10, seed: 3, choice },
    }),
  );

  test('compute their beginning once', async () => {
    const own = await MoEModel.load(checkpoint, { kvTokens: 1024 });
    const together = await Promise.all(options.map((each) => own.complete(each)));
    const blocks = (length: number) => 16 * Math.floor(length / 16);
    expect(together.map(({ usage }) => usage.cachedTokens)).toEqual([
      0,
      ...Array(4).fill(blocks(common.length - 1)),
    ]);
    for (const [index, { text }] of together.entries())
      expect(text).toBe((await model.complete(options[index] as GenerateOptions)).text);
    await own.close();
  });

  test('compute it for themselves where the first is gone', async () => {
    const own = await MoEModel.load(checkpoint, { kvTokens: 1024 });
    const controller = new AbortController();
    const { signal } = controller;
    const first = own.complete({ ...(options[0] as GenerateOptions), signal });
    const others = options.slice(1).map((each) => own.complete(each));
    while (own.inUse().running === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(own.inUse()).toMatchObject({ running: 1 });
    controller.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    const [second, ...rest] = (await Promise.all(others)).map(({ usage }) => usage.cachedTokens);
    for (const cached of rest) expect(cached).toBeGreaterThanOrEqual(second as number);
    await own.close();
  });
});

test('a prompt in one piece gives what its tokens give one by one', async () => {
  const tokens = await model.tokenizer.encode('And the LORD spake unto Moses, saying, Speak');
  const whole = await model.logits(tokens);
  const v = model.vocabularySize;
  for (const length of [1, 17, tokens.length]) {
    const part = await model.logits(tokens.subarray(0, length));
    expect(part).toEqual(whole.subarray(0, length * v));
  }
  const logprobs = await model.logprobs(tokens);
  expect(logprobs).toHaveLength(tokens.length - 1);
  for (const [row, logprob] of logprobs.entries()) {
    const logits = whole.subarray(row * v, (row + 1) * v);
    const sum = logits.reduce((all, logit) => all + Math.exp(logit), 0);
    expect(logprob).toBeCloseTo((logits[tokens[row + 1] as number] as number) - Math.log(sum), 4);
  }
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = [model.logits(tokens, { signal }), model.logprobs(tokens, { signal })];
  controller.abort(new Error('enough'));
  for (const each of aborted) await expect(each).rejects.toThrow('enough');
  await expect(model.logits(tokens, { signal })).rejects.toThrow('enough');
  const { tokens: greedy } = await model.complete({ tokens, maxTokens: 1, temperature: 0 });
  const last = whole.subarray(-v);
  expect(last[greedy[0] as number]).toBe(Math.max(...last));
});

test('a seed is told and gives the same text again; choices of one seed differ', async () => {
  const options = { prompt: 'def ', maxTokens: 30 };
  const first = await model.complete(options);
  expect((await model.complete({ ...options, seed: first.seed })).text).toBe(first.text);
  const other = await model.complete({ ...options, seed: first.seed, choice: 1 });
  expect(other.text).not.toBe(first.text);
});

test('a text ends before a stop string, at a stop token, and not before minTokens', async () => {
  const options = { prompt: 'And God said, ', maxTokens: 40, temperature: 0 };
  const { text } = await model.complete(options);
  const stop = text.slice(5, 8);
  const before = text.slice(0, text.indexOf(stop));
  expect(await model.complete({ ...options, stop: ['not there', stop] })).toMatchObject({
    ...{ text: before, finishReason: 'stop', stopReason: stop },
  });
  const space = 32;
  const stopped = await model.complete({ ...options, stopTokens: [space] });
  expect(stopped).toMatchObject({
    text: text.slice(0, text.indexOf(' ')),
    finishReason: 'stop',
    stopReason: space,
  });
  const later = await model.complete({ ...options, stopTokens: [space], minTokens: 10 });
  expect(later.tokens.slice(0, 10)).not.toContain(space);
  expect(later.tokens.length).toBeGreaterThan(10);
});

describe('what cannot be is refused', () => {
  test.each<[string, object, RegExp]>([
    [
      'nothing to go on with',
      {},
      /Expected one of `prompt`, `messages` and `tokens`, got 0 of them/,
    ],
    ['two things', { prompt: 'a', tokens: [1] }, /got 2 of them/],
    ['an unknown option', { prompt: 'a', maxToken: 3 }, /did you mean `maxTokens`/],
    [
      'a number that is none',
      { prompt: 'a', temperature: '1' },
      /`temperature` to be a finite number of at least 0, got `1` \(string\)/,
    ],
    ['a seed', { prompt: 'a', seed: -1 }, /`seed` to be an integer from 0 to 2\^64 - 1/],
    ['a token', { tokens: [256] }, /`tokens\[0\]` to be an integer from 0 to 255, got `256`/],
    ['a chat', { messages: [{ role: 'user', content: 'a' }] }, /with a chat template/],
    ['tools without a chat', { prompt: 'a', tools: [] }, /`tools` to be given with `messages`/],
    ['an empty stop', { prompt: 'a', stop: [''] }, /`stop\[0\]` to be text that is not empty/],
  ])('%s', (_, options, message) => {
    expect(() => model.generate(options as GenerateOptions)).toThrow(message);
  });

  test.each<[string, GenerateOptions, RegExp]>([
    [
      'a prompt that fills the context',
      { prompt: 'x'.repeat(192) },
      /less than the 192 tokens of the context, got 192/,
    ],
    [
      'more than there is room for',
      { prompt: 'abc', maxTokens: 190 },
      /at most the 192 tokens of the context, got 3 and 190/,
    ],
    ['an empty prompt', { prompt: '' }, /at least one token, got none/],
  ])('%s', async (_, options, message) => {
    await expect(model.complete(options)).rejects.toThrow(message);
  });
});

test('an abort, a reader who leaves and closing end a sequence, and others go on', async () => {
  const own = await MoEModel.load(checkpoint, { kvTokens: 512 });
  const other = own.complete({ prompt: 'And', maxTokens: 100, temperature: 0 });
  const controller = new AbortController();
  const aborted = pieces({ prompt: 'In the', maxTokens: 180, signal: controller.signal }, own);
  const reason = new Error('enough');
  setImmediate(() => controller.abort(reason));
  await expect(aborted).rejects.toBe(reason);
  for await (const piece of own.generate({ prompt: 'x', maxTokens: 100 }))
    if (piece.tokens.length > 0) break;
  expect((await other).text).toBe(
    (await model.complete({ prompt: 'And', maxTokens: 100, temperature: 0 })).text,
  );
  const unfinished = own.complete({ prompt: 'y', maxTokens: 150 });
  const ended = expect(unfinished).rejects.toMatchObject({ code: 'ERR_MOE_CLOSED' });
  await own.close();
  await ended;
  expect(() => own.generate({ prompt: 'z' })).toThrow(/closed/);
  await own.close();
});

test('a reader who leaves while it waits for a piece is let go at once', async () => {
  const own = await MoEModel.load(checkpoint, { kvTokens: 192 });
  const long = own.generate({ prompt: 'And', maxTokens: 180 });
  await long.next();
  const waits = own.generate({ prompt: 'In', maxTokens: 180 });
  const piece = waits.next();
  while (own.inUse().waiting === 0) await new Promise((resolve) => setImmediate(resolve));
  await waits.return?.();
  expect(await piece).toEqual({ done: true, value: undefined });
  expect(own.inUse()).toMatchObject({ running: 1, waiting: 0 });
  const early = own.generate({ prompt: 'In', maxTokens: 180 });
  const none = early.next();
  await early.return?.();
  expect(await none).toEqual({ done: true, value: undefined });
  await long.return?.();
  const encoding = own.complete({ prompt: 'In' });
  const ended = expect(encoding).rejects.toMatchObject({ code: 'ERR_MOE_CLOSED' });
  await own.close();
  await ended;
});

test('an abort, and a reader who leaves, do not wait for prompts to be encoded', async () => {
  const own = await MoEModel.load(checkpoint);
  let encoded = false;
  const encoding = own.tokenizer.encode('x'.repeat(1e6)).then(() => {
    encoded = true;
  });
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = own.complete({ prompt: 'In', signal });
  const left = own.generate({ prompt: 'In' });
  const none = left.next();
  const long = own.complete({ prompt: 'x'.repeat(1e6), signal });
  setImmediate(() => controller.abort(new Error('enough')));
  await expect(aborted).rejects.toThrow('enough');
  await expect(long).rejects.toThrow('enough');
  await left.return?.();
  expect(await none).toEqual({ done: true, value: undefined });
  expect(encoded).toBe(false);
  expect(getEventListeners(signal, 'abort')).toEqual([]);
  await encoding;
  await own.close();
});

test('more than may wait fail at once', async () => {
  const own = await MoEModel.load(checkpoint, { kvTokens: 192, maxWaiting: 1 });
  const options = { tokens: [65, 66], maxTokens: 150 };
  const asked = [1, 2, 3].map(() => own.complete(options));
  const outcomes = await Promise.allSettled(asked);
  expect(outcomes.map(({ status }) => status).sort()).toEqual([
    'fulfilled',
    'rejected',
    'rejected',
  ]);
  for (const each of outcomes)
    if (each.status === 'rejected')
      expect(each.reason).toMatchObject({ code: 'ERR_MOE_QUEUE_FULL' });
  await own.close();
});

test('experts count the tokens that they serve', async () => {
  const load = model.load();
  expect(load.map((experts) => experts.length)).toEqual([8, 8, 8, 8]);
  for (const experts of load)
    expect(experts.reduce((sum, tokens) => sum + tokens)).toBeGreaterThan(0);
});

test('a checkpoint without a tokenizer runs on tokens', async () => {
  const { cp, mkdtemp, rm } = await import('node:fs/promises');
  const { tmpdir } = await import('node:os');
  const folder = await mkdtemp(join(tmpdir(), 'moe-model-'));
  await cp(checkpoint, folder, { recursive: true });
  await rm(join(folder, 'tokenizer.json'));
  const bare = await MoEModel.load(folder);
  const tokens = [...(await readFile(join(root, 'README.md')))].slice(0, 20);
  const options = { tokens, maxTokens: 20, temperature: 0 };
  expect((await bare.complete(options)).tokens).toEqual((await model.complete(options)).tokens);
  expect(() => bare.generate({ prompt: 'a' })).toThrow(/to hold tokenizer\.json, got none/);
  expect(() => bare.tokenizer).toThrow(/tokenizer\.json/);
  await bare.close();
  await rm(folder, { recursive: true });
});
