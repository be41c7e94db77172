// What is not an answer: health, names, keys, errors, tokens.
import { NotFoundError } from 'openai';
import { describe, expect, test, vi } from 'vitest';
import { ConfigError, MoEError } from '../../src/base/errors.js';
import type { TextModel } from '../../src/model/types.js';
import { asApiError } from '../../src/server/errors.js';
import { serve } from '../../src/server/serve.js';
import { StoryModel } from './story_model.js';
import { chat, clientOf, follow, post, start, until } from './support.js';

const status = async (url: string) => (await fetch(url)).status;

describe('while the model is loaded', () => {
  test('the server listens and says that it loads; then it serves', async () => {
    let loaded = (_: TextModel) => {};
    const model = new Promise<TextModel>((resolve) => {
      loaded = resolve;
    });
    const server = await follow(serve(model, { port: 0 }));
    const { url } = server;
    expect(server.state).toBe('loading');
    expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ status: 'loading' });
    const health = await fetch(`${url}/health`);
    expect([health.status, health.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await health.json()).toEqual({
      error: {
        message: 'The model is being loaded',
        type: 'unavailable_error',
        param: null,
        code: 'loading',
      },
    });
    expect((await post(url, '/v1/chat/completions', { messages: chat('x') })).status).toBe(503);
    expect(await status(`${url}/v1/models`)).toBe(503);
    expect(await status(`${url}/healthz`)).toBe(200);
    expect(await status(`${url}/metrics`)).toBe(200);
    loaded(new StoryModel());
    await server.ready;
    expect([server.state, await status(`${url}/health`)]).toEqual(['ready', 200]);
    expect(await (await fetch(`${url}/health`)).json()).toEqual({ status: 'ok' });
    expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ status: 'ready' });
  });

  test('a model that cannot be loaded fails the server’s `ready`, and nothing else', async () => {
    const server = await follow(serve(Promise.reject(new Error('no such file')), { port: 0 }));
    await expect(server.ready).rejects.toThrow('no such file');
    expect(server.state).toBe('failed');
    expect(await (await fetch(`${server.url}/readyz`)).json()).toEqual({ status: 'failed' });
  });
});

describe('options', () => {
  test.each([
    [{ prot: 1 }, /did you mean `port`/],
    [{ port: 70000 }, /Expected `port` to be an integer from 0 to 65535, got `70000`/],
    [{ apiKey: '' }, /Expected `apiKey` to be a key, got ``/],
    [{ metricsPrefix: 'a b' }, /Expected `metricsPrefix` to be a beginning of names of metrics/],
  ])('%j is refused', async (options, message) => {
    await expect(serve(new StoryModel(), options as object)).rejects.toThrow(ConfigError);
    await expect(serve(new StoryModel(), options as object)).rejects.toThrow(message);
  });

  test('an address that is taken is an error', async () => {
    const { url } = await start();
    const port = Number(new URL(url).port);
    await expect(serve(new StoryModel(), { port })).rejects.toThrow('EADDRINUSE');
  });

  test('options that are undefined are those that are not given', async () => {
    const server = await follow(serve(new StoryModel(), { port: 0, host: undefined }));
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  });
});

describe('models', () => {
  test('there is one, with its context', async () => {
    const { client } = await start({ modelName: 'org/fox-7b' }, { contextLength: 512 });
    const { data } = await client.models.list();
    const model = { id: 'org/fox-7b', object: 'model', owned_by: 'node-moe', max_model_len: 512 };
    expect(data).toEqual([{ ...model, created: expect.any(Number) }]);
    expect(await client.models.retrieve('org/fox-7b')).toMatchObject(model);
    const { model: name } = await client.completions.create({ model: 'org/fox-7b', prompt: 'x' });
    expect(name).toBe('org/fox-7b');
  });

  test('another is not found', async () => {
    const { client } = await start();
    const wrong = [
      client.models.retrieve('gpt-9'),
      client.completions.create({ model: 'gpt-9', prompt: 'x' }),
      client.chat.completions.create({ model: 'gpt-9', messages: chat('x') }),
    ];
    for (const asked of wrong) {
      const error = await asked.then(
        () => undefined,
        (one) => one,
      );
      expect(error).toBeInstanceOf(NotFoundError);
      expect(error).toMatchObject({ code: 'model_not_found', param: 'model' });
      expect(error.message).toMatch(/`gpt-9` .* this server has `story`/);
    }
  });
});

describe('errors have OpenAI’s form', () => {
  const message = { messages: chat('x') };
  test.each<[string, string, unknown, number, object]>([
    ['no JSON', '/v1/completions', '{', 400, { type: 'invalid_request_error' }],
    ['no object', '/v1/completions', '3', 400, { message: expect.stringMatching(/the body/) }],
    ['a wrong value', '/v1/completions', { prompt: 'x', n: 0 }, 400, { param: 'n', code: null }],
    [
      'what is not supported',
      '/v1/chat/completions',
      { ...message, response_format: { type: 'json_object' } },
      400,
      { param: 'response_format', code: 'unsupported_parameter' },
    ],
    [
      'a prompt that is too long',
      '/v1/completions',
      { prompt: 'x'.repeat(5000) },
      400,
      { code: 'context_length_exceeded', message: expect.stringMatching(/4096 .* 5001/) },
    ],
    ['tokens that are none', '/v1/completions', { prompt: [1, 999] }, 400, { param: 'prompt' }],
    [
      'a bias of none',
      '/v1/completions',
      { prompt: 'x', logit_bias: { 999: 1 } },
      400,
      { param: 'logit_bias' },
    ],
    [
      'too many answers',
      '/v1/completions',
      { prompt: Array(9).fill('x'), n: 128 },
      400,
      { param: 'prompt' },
    ],
    ['what the model refuses', '/v1/chat/completions', { messages: chat('[wrong]') }, 400, {}],
    [
      'a stream of that',
      '/v1/chat/completions',
      { messages: chat('[wrong]'), stream: true },
      400,
      {},
    ],
    ['another route', '/v1/embeddings', {}, 404, { message: 'There is no POST /v1/embeddings' }],
    [
      'a failure',
      '/v1/chat/completions',
      { messages: chat('[fail]'), ignore_eos: true },
      500,
      { type: 'server_error', message: 'Internal error' },
    ],
  ])('%s', async (_, path, body, code, error) => {
    const { url } = await start();
    const answer = await post(url, path, body);
    expect(answer.status).toBe(code);
    const told = await answer.json();
    expect(Object.keys(told)).toEqual(['error']);
    expect(Object.keys(told.error)).toEqual(['message', 'type', 'param', 'code']);
    expect(told.error).toMatchObject(error);
  });

  test('a body that is too large, or none of JSON', async () => {
    const { url } = await start({ maxBodyBytes: 100 });
    const large = await post(url, '/v1/completions', { prompt: 'x'.repeat(200) });
    expect([large.status, (await large.json()).error.type]).toEqual([413, 'invalid_request_error']);
    const text = await fetch(`${url}/v1/completions`, { method: 'POST', body: '{"prompt":"x"}' });
    expect([text.status, (await text.json()).error]).toMatchObject([
      415,
      { type: 'invalid_request_error', message: expect.stringContaining('application/json') },
    ]);
  });

  test('a full queue is 429, at once, and says when to come again', async () => {
    const { url, model } = await start({}, { maxRunning: 1, maxWaiting: 1, stepMs: 5 });
    const ask = { prompt: 'x', max_tokens: 40, ignore_eos: true };
    const two = [post(url, '/v1/completions', ask), post(url, '/v1/completions', ask)];
    await until(() => model.inUse().waiting, 1);
    const third = await post(url, '/v1/completions', ask);
    expect([third.status, third.headers.get('retry-after')]).toEqual([429, '1']);
    expect((await third.json()).error).toMatchObject({ code: 'queue_full', param: null });
    expect((await Promise.all(two)).map((one) => one.status)).toEqual([200, 200]);
    // One answer of several that finds no place ends the others.
    const several = await post(url, '/v1/completions', { ...ask, n: 3 });
    expect(several.status).toBe(429);
    await until(() => model.inUse().running, 0);
  });

  test('a device that is lost ends the server’s health: only a new process can use it', async () => {
    const { url, server } = await start();
    const lost = await post(url, '/v1/completions', { prompt: '[lost]' });
    expect([lost.status, server.state, await status(`${url}/health`)]).toEqual([
      500,
      'failed',
      503,
    ]);
    expect((await post(url, '/v1/completions', { prompt: 'x' })).status).toBe(503);
    expect(await status(`${url}/healthz`)).toBe(200);
  });

  test('a chat template that does not end is told', () => {
    const words = 'Expected the chat template to end within 5000 ms, and stopped it';
    expect(asApiError(new MoEError('ERR_MOE_TIMEOUT', words))).toMatchObject({
      ...{ status: 500, message: words, code: 'timeout' },
    });
  });

  test('a closed model is 503', async () => {
    const { url, model } = await start();
    model.closed = true;
    expect((await post(url, '/v1/completions', { prompt: 'x' })).status).toBe(503);
  });

  test('a stream that fails ends with the error as its last event', async () => {
    const { url, client } = await start();
    const ask = { messages: chat('[fail]'), ignore_eos: true, stream: true };
    const events = (await (await post(url, '/v1/chat/completions', ask)).text()).split('\n\n');
    expect(JSON.parse(events.at(-2)?.slice(6) ?? '')).toEqual({
      error: { message: 'Internal error', type: 'server_error', param: null, code: null },
    });
    const stream = await client.chat.completions.create({ model: 'story', ...ask, stream: true });
    await expect(
      (async () => {
        for await (const _ of stream);
      })(),
    ).rejects.toThrow('Internal error');
  });

  test('what goes wrong is logged, and fields that nobody knows, once', async () => {
    const lines: string[] = [];
    const write = vi.spyOn(process.stderr, 'write').mockImplementation((line) => {
      lines.push(String(line));
      return true;
    });
    try {
      const { url } = await start({ logger: true });
      const ask = { messages: chat('[fail]'), ignore_eos: true, frobnicate: 1 };
      await post(url, '/v1/chat/completions', ask);
      await post(url, '/v1/chat/completions', { ...ask, stream: true }).then((one) => one.text());
    } finally {
      write.mockRestore();
    }
    const log = lines.map((line) => JSON.parse(line));
    expect(log.filter(({ err }) => err?.message === 'a fuse has blown')).toHaveLength(2);
    expect(log.filter(({ msg }) => msg.includes('frobnicate'))).toHaveLength(1);
  });
});

describe('who may ask', () => {
  test('only those with the key, where there is one', async () => {
    const { server, url, client } = await start({ apiKey: 'secret' });
    expect((await client.models.list()).data).toHaveLength(1);
    for (const path of ['/v1/chat/completions', '/v1/completions', '/tokenize', '/detokenize']) {
      const { status: code, headers } = await post(url, path, {});
      expect([code, headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    }
    const wrong = clientOf(server, 'guess').models.list();
    await expect(wrong).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' });
    for (const path of ['/health', '/healthz', '/readyz', '/metrics', '/version'])
      expect(await status(url + path)).toBe(200);
    for (const path of ['/v1/models', '/v1/models/story'])
      expect(await status(url + path)).toBe(401);
  });

  test('pages of other origins only where that is asked for', async () => {
    const ask = { method: 'OPTIONS', headers: { origin: 'https://a.example' } };
    const closed = await start();
    const refused = await fetch(`${closed.url}/v1/completions`, ask);
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([
      404,
      null,
    ]);
    const open = await start({ corsOrigin: 'https://a.example' });
    const allowed = await fetch(`${open.url}/v1/completions`, ask);
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get('access-control-allow-headers')).toContain('authorization');
    const body = { prompt: 'x', max_tokens: 1 };
    for (const one of [body, { ...body, stream: true }, { prompt: 3 }]) {
      const answer = await post(open.url, '/v1/completions', one);
      expect(answer.headers.get('access-control-allow-origin')).toBe('https://a.example');
      await answer.text();
    }
  });
});

describe('tokens', () => {
  test('of a text and of a chat, and back', async () => {
    const { url } = await start();
    const ask = async (path: string, body: object) => (await post(url, path, body)).json();
    const text = await ask('/tokenize', { prompt: 'fox' });
    expect(text).toEqual({ tokens: [257, 102, 111, 120], count: 4, max_model_len: 4096 });
    const plain = await ask('/tokenize', { prompt: 'fox', add_special_tokens: false });
    expect(plain.count).toBe(3);
    const turns = await ask('/tokenize', { messages: chat('hi'), chat_template_kwargs: { a: 1 } });
    expect(await ask('/detokenize', { tokens: turns.tokens })).toEqual({
      prompt: '{"a":1}<user>hi\n<assistant>',
    });
    const whole = await ask('/v1/chat/completions', { messages: chat('hi'), max_tokens: 1 });
    expect(whole.usage.prompt_tokens).toBe(turns.count - '{"a":1}'.length);
  });

  test.each([
    ['/tokenize', {}, 'prompt'],
    ['/tokenize', { prompt: 'x', messages: chat('x') }, 'prompt'],
    ['/tokenize', { prompt: 3 }, 'prompt'],
    ['/detokenize', {}, 'tokens'],
    ['/detokenize', { tokens: ['x'] }, 'tokens'],
    ['/detokenize', { tokens: [999] }, 'tokens'],
  ])('%s refuses %j', async (path, body, param) => {
    const { url } = await start();
    const answer = await post(url, path, body);
    expect([answer.status, (await answer.json()).error.param]).toEqual([400, param]);
  });

  test('the version is that of the package', async () => {
    const { url } = await start();
    const { version } = await (await fetch(`${url}/version`)).json();
    expect(version).toMatch(/^\d+\.\d+\.\d+/);
  });
});
