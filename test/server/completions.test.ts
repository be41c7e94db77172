import type OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { type Started, start } from './support.js';

type Params = Omit<OpenAI.CompletionCreateParamsNonStreaming, 'model'> & Record<string, unknown>;

/** Asks for the same twice, whole and streamed; they must be the same. */
async function both({ client }: Started, params: Params): Promise<OpenAI.Completion> {
  const body = { model: 'story', seed: 7, ignore_eos: true, ...params };
  const whole = await client.completions.create(body);
  const streamed: OpenAI.CompletionChoice[] = [];
  let usage: OpenAI.CompletionUsage | undefined;
  const stream = await client.completions.create({
    ...body,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    for (const { index, text, logprobs, ...rest } of chunk.choices) {
      const before = streamed[index];
      const lists = [before?.logprobs, logprobs].filter((one) => one != null);
      const joined = (key: 'tokens' | 'token_logprobs' | 'top_logprobs' | 'text_offset') =>
        lists.flatMap((one) => (one[key] ?? []) as []);
      streamed[index] = {
        ...rest,
        index,
        text: (before?.text ?? '') + text,
        logprobs:
          lists.length === 0
            ? null
            : {
                tokens: joined('tokens'),
                token_logprobs: joined('token_logprobs'),
                top_logprobs: joined('top_logprobs'),
                text_offset: joined('text_offset'),
              },
      };
    }
    usage = chunk.usage ?? usage;
  }
  expect(streamed).toEqual(whole.choices);
  expect(usage?.completion_tokens).toBe(whole.usage?.completion_tokens);
  return whole;
}

describe('/v1/completions', () => {
  test('a text goes on, for 16 tokens where nobody says how many', async () => {
    const whole = await both(await start(), { prompt: 'once' });
    expect(whole).toMatchObject({ object: 'text_completion', model: 'story', seed: 7 });
    expect(whole.id).toMatch(/^cmpl-/);
    expect(whole.choices[0]).toMatchObject({ index: 0, logprobs: null, finish_reason: 'length' });
    expect(whole.usage).toMatchObject({
      prompt_tokens: 5,
      completion_tokens: 16,
      total_tokens: 21,
    });
  });

  test('prompts are texts or tokens, one or many, each with n answers', async () => {
    const started = await start();
    const [once, upon] = ['once', 'upon'].map((text) => [...Buffer.from(text)]) as [[], []];
    const texts = await both(started, { prompt: ['once', 'upon'], n: 2, max_tokens: 4 });
    expect(texts.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(texts.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 16 });
    const alone = await both(started, { prompt: 'upon', n: 2, max_tokens: 4 });
    const words = ({ choices }: OpenAI.Completion) => choices.map(({ text }) => text);
    expect(words(texts).slice(2)).toEqual(words(alone));
    const tokens = await both(started, { prompt: [once, upon], max_tokens: 4 });
    expect(tokens.usage?.prompt_tokens).toBe(8); // nothing was added to them
    const one = await both(started, { prompt: upon, max_tokens: 4 });
    expect(words(one)).toEqual(words(tokens).slice(1));
  });

  test('the prompt is repeated where that is asked for', async () => {
    const started = await start();
    const plain = await both(started, { prompt: 'once', max_tokens: 4 });
    const echoed = await both(started, { prompt: ['once'], echo: true, max_tokens: 4 });
    expect(echoed.choices[0]?.text).toBe(`once${plain.choices[0]?.text}`);
    const tokens = await both(started, {
      prompt: [...Buffer.from('狐')],
      echo: true,
      n: 2,
      max_tokens: 1,
    });
    for (const { text } of tokens.choices) expect(text).toMatch(/^狐./su);
  });

  test('log-probabilities are lists of tokens, with where each begins', async () => {
    const started = await start();
    const { choices } = await both(started, { prompt: 'n', max_tokens: 6, logprobs: 1 });
    const logprobs = choices[0]?.logprobs;
    expect(logprobs?.tokens).toHaveLength(6);
    expect(logprobs?.tokens?.join('')).toBe(choices[0]?.text);
    expect(logprobs?.top_logprobs?.[0]).toEqual({
      [logprobs?.tokens?.[0] as string]: logprobs?.token_logprobs?.[0],
    });
    const lengths = logprobs?.tokens?.map((token) => [...token].length) ?? [];
    const sums = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0));
    expect(logprobs?.text_offset).toEqual(sums);
    const ids = { prompt: 'n', max_tokens: 1, logprobs: 2, return_tokens_as_token_ids: true };
    const named = (await both(started, ids)).choices[0]?.logprobs;
    expect(named?.tokens?.[0]).toMatch(/^token_id:\d+$/);
    expect(Object.keys(named?.top_logprobs?.[0] ?? {})).toHaveLength(2);
  });

  test('with the prompt come the log-probabilities of its tokens, of which the first has none', async () => {
    const started = await start();
    const ask = { echo: true, max_tokens: 2, logprobs: 0, n: 2 };
    const { choices } = await both(started, { ...ask, prompt: ['so', 'na'] });
    expect(choices).toHaveLength(4);
    const text = choices[3] as OpenAI.CompletionChoice;
    const tokens = (await both(started, { ...ask, prompt: [110, 97] }))
      .choices[0] as OpenAI.CompletionChoice;
    expect(text.logprobs).toMatchObject({
      tokens: ['<begin>', 'n', 'a', expect.anything(), expect.anything()],
      token_logprobs: [null, -110, -97, expect.any(Number), expect.any(Number)],
      top_logprobs: [null, { n: -110 }, { a: -97 }, expect.anything(), expect.anything()],
      text_offset: [0, 0, 1, 2, expect.any(Number)],
    });
    expect(tokens.logprobs?.token_logprobs?.slice(0, 2)).toEqual([null, -97]);
    expect(tokens.logprobs?.text_offset?.slice(0, 3)).toEqual([0, 1, 2]);
    expect(text.text).toBe(`na${text.logprobs?.tokens?.slice(3).join('')}`);
  });

  test('a stop string ends the text before it, or behind it', async () => {
    const started = await start();
    const free = (await both(started, { prompt: 'stop', max_tokens: 30 })).choices[0]?.text ?? '';
    const stop = free.slice(12, 17);
    const { choices } = await both(started, { prompt: 'stop', max_tokens: 30, stop });
    expect(choices[0]).toMatchObject({
      text: free.slice(0, free.indexOf(stop)),
      finish_reason: 'stop',
      stop_reason: stop,
    });
    const list = { stop: ['never', stop], include_stop_str_in_output: true };
    const behind = await both(started, { prompt: 'stop', max_tokens: 30, ...list });
    expect(behind.choices[0]?.text).toBe(free.slice(0, free.indexOf(stop) + stop.length));
  });

  test('a stop token is named', async () => {
    const started = await start();
    const ask = { prompt: 's', max_tokens: 30, logit_bias: { '265': 100 } };
    const { choices } = await both(started, { ...ask, stop_token_ids: [265], min_tokens: 3 });
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', stop_reason: 265 });
    expect((await both(started, ask)).usage?.completion_tokens).toBe(30);
  });

  test('tools of evaluation: greedy answers do not depend on the seed', async () => {
    const started = await start();
    const ask = { prompt: 'q', temperature: 0, max_tokens: 9 };
    const [one, other] = [await both(started, ask), await both(started, { ...ask, seed: 8 })];
    expect(one.choices).toEqual(other.choices);
    const warm = { ...ask, temperature: 0.7 };
    expect((await both(started, warm)).choices).not.toEqual(
      (await both(started, { ...warm, seed: 8 })).choices,
    );
  });
});
