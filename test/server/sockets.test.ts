// The bytes of streams, and clients that are slow, gone, or send many requests at once.
import { getEventListeners } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test, vi } from 'vitest';
import type { GenerateOptions } from '../../src/model/types.js';
import { expectReader } from '../../src/server/connections.js';
import { serve } from '../../src/server/serve.js';
import { StoryModel } from './story_model.js';
import {
  chat,
  connectTo,
  dechunked,
  follow,
  metricsOf,
  post,
  received,
  requestBytes,
  start,
  until,
} from './support.js';

const path = '/v1/chat/completions';
const long = { messages: chat('long'), max_tokens: 4000, ignore_eos: true };
const ended = (text: string) => text.endsWith('0\r\n\r\n');

describe('the bytes of a stream', () => {
  test('of a chat', async () => {
    const { url } = await start();
    const socket = await connectTo(url);
    const ask = { messages: chat('fox'), max_tokens: 2, seed: 3, temperature: 0 };
    const usage = { stream: true, stream_options: { include_usage: true }, ignore_eos: true };
    socket.write(requestBytes(path, { ...ask, ...usage }));
    const text = await received(socket, ended);
    socket.destroy();
    const head = text.split('\r\n\r\n')[0]?.toLowerCase() ?? '';
    expect(head).toMatch(/^http\/1\.1 200 ok\r\n/);
    for (const line of [
      'content-type: text/event-stream; charset=utf-8',
      'cache-control: no-cache',
      'x-accel-buffering: no',
    ])
      expect(head.split('\r\n')).toContain(line);
    const body = dechunked(text);
    const [, id = '', created = ''] = /"id":"([^"]+)".*?"created":(\d+)/.exec(body) ?? [];
    const whole = await (
      await post(url, path, { ...ask, ignore_eos: true, logprobs: true })
    ).json();
    const words = whole.choices[0].logprobs.content.map((one: { token: string }) => one.token);
    const event = (choices: string, usage = 'null') =>
      `data: {"id":"${id}","object":"chat.completion.chunk","created":${created},"model":"story","seed":3,"choices":[${choices}],"usage":${usage}}\n\n`;
    const delta = (one: string, end = '"finish_reason":null') =>
      event(`{"index":0,"delta":${one},"logprobs":null,${end}}`);
    expect(body).toBe(
      delta('{"role":"assistant","content":""}') +
        delta(`{"content":${JSON.stringify(words[0])}}`) +
        delta(`{"content":${JSON.stringify(words[1])}}`) +
        delta('{}', '"finish_reason":"length","stop_reason":null') +
        event(
          '',
          '{"prompt_tokens":21,"completion_tokens":2,"total_tokens":23,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}',
        ) +
        'data: [DONE]\n\n',
    );
  });

  test('of a completion', async () => {
    const { url } = await start();
    const ask = { prompt: 'fox', echo: true, max_tokens: 1, seed: 3, ignore_eos: true };
    const whole = await (await post(url, '/v1/completions', ask)).json();
    const body = await (await post(url, '/v1/completions', { ...ask, stream: true })).text();
    const events = body.split('\n\n').map((event) => event.slice('data: '.length));
    const text = whole.choices[0].text.slice(3);
    expect(events.slice(0, 2).map((event) => JSON.parse(event).choices[0])).toEqual([
      { index: 0, text: 'fox', logprobs: null, finish_reason: null },
      { index: 0, text, logprobs: null, finish_reason: 'length', stop_reason: null },
    ]);
    expect(events.slice(2)).toEqual(['[DONE]', '']);
  });

  test('a long silence has signs of life, which clients pass over', async () => {
    const { url, client } = await start({ keepAliveSeconds: 0.03 }, { stepMs: 100 });
    const ask = { messages: chat('x'), max_tokens: 1, stream: true } as const;
    const body = await (await post(url, path, ask)).text();
    expect(body).toMatch(/^data: \{.*"role":"assistant".*\}\n\n: still working\n\n: still/);
    const stream = await client.chat.completions.create({ model: 'story', ...ask });
    let chunks = 0;
    for await (const _ of stream) chunks++;
    expect(chunks).toBeGreaterThanOrEqual(2);
    // What goes wrong after the first sign has no status any more.
    const failing = await post(url, path, {
      ...ask,
      messages: chat('[fail]'),
      max_tokens: 9,
      ignore_eos: true,
    });
    expect([failing.status, await failing.text()]).toEqual([
      200,
      expect.stringMatching(/data: \{"error":\{[^}]*\}\}\n\n$/),
    ]);
  });
});

describe('a client that leaves', () => {
  test('ends its sequence within its prompt', async () => {
    const { url, model } = await start({}, { stepMs: 20 });
    const socket = await connectTo(url);
    socket.write(requestBytes('/v1/completions', { prompt: 'x'.repeat(3000) }));
    await until(() => model.prefilled > 0, true);
    socket.destroy();
    await until(() => model.ended.aborted, 1);
    expect(model.prefilled).toBeLessThan(1000);
    await until(() => model.inUse(), { running: 0, waiting: 0, kvTokens: 16384, kvTokensUsed: 0 });
    expect((await metricsOf(url)).get('moe_requests_total{code="499"}')).toBe(1);
  });

  test('while it waits takes nothing of the queue', async () => {
    const { url, model } = await start({}, { maxRunning: 1, stepMs: 20 });
    const first = post(url, '/v1/completions', { prompt: 'x', max_tokens: 10, ignore_eos: true });
    await until(() => model.inUse().running, 1);
    const socket = await connectTo(url);
    socket.write(requestBytes('/v1/completions', { prompt: 'x' }));
    await until(() => model.inUse().waiting, 1);
    socket.destroy();
    await until(() => model.inUse().waiting, 0);
    expect((await first).status).toBe(200);
  });

  test('ends a stream, and all answers of a request', async () => {
    const { client, model } = await start({}, { stepMs: 2 });
    const stream = await client.chat.completions.create({
      model: 'story',
      ...long,
      n: 3,
      stream: true,
    });
    for await (const { choices } of stream) if (choices[0]?.delta.content) break; // which leaves
    await until(() => model.ended.aborted, 3);
    expect(model.inUse().running).toBe(0);
  });

  test('ends what was pipelined behind', async () => {
    const { url, model } = await start({}, { stepMs: 5 });
    const socket = await connectTo(url);
    socket.write(requestBytes(path, { ...long, stream: true }) + requestBytes(path, long));
    await until(() => model.inUse().running, 2);
    socket.destroy();
    await until(() => model.ended.aborted, 2);
    await until(async () => (await metricsOf(url)).get('moe_requests_total{code="499"}'), 2);
  });
});

test('pipelined requests are answered in order, and leave nothing on their connection', async () => {
  const { url, model } = await start();
  const socket = await connectTo(url);
  const ask = (stream: boolean) =>
    requestBytes('/v1/completions', { prompt: 'x', max_tokens: 2, stream });
  socket.write(ask(true));
  await received(socket, ended);
  socket.write(Array.from({ length: 20 }, (_, i) => ask(i % 2 === 0)).join(''));
  let count = 0;
  await received(socket, (text) => {
    count = text.split('HTTP/1.1 200').length - 1;
    return count === 20 && text.endsWith('}');
  });
  expect(model.ended).toEqual({ whole: 21, aborted: 0, failed: 0 });
  for (const { signal } of model.asked)
    expect(getEventListeners(signal as AbortSignal, 'abort')).toEqual([]);
  socket.destroy();
});

test('a client that reads nothing holds nobody up, and is cut off when too much waits for it', async () => {
  const { url, model } = await start({ maxBufferedBytes: 65536 });
  const deaf = await connectTo(url);
  deaf.pause();
  const heavy = { ...long, logprobs: true, top_logprobs: 20, n: 4, stream: true };
  deaf.write(requestBytes(path, heavy));
  await until(() => model.inUse().running, 4);
  const others = await Promise.all(
    [1, 2, 3].map((i) => post(url, '/v1/completions', { prompt: `${i}`, max_tokens: 50 })),
  );
  expect(others.map((one) => one.status)).toEqual([200, 200, 200]);
  await until(() => model.ended.aborted, 4);
  await until(async () => (await metricsOf(url)).get('moe_requests_total{code="499"}'), 1);
  deaf.destroy();
});

test('a client that does not read the end of its answer has a time for it, which begins with its turn', async () => {
  const closed: number[] = [];
  const slow = createServer((request, response) => {
    const length = Number(request.url?.slice(1));
    response.once('close', () => closed.push(length));
    // The first of two pipelined answers takes longer than the second may.
    setTimeout(() => response.end(Buffer.alloc(length)), length === 1 ? 400 : 0);
    if (length !== 1) expectReader(response, 0.2);
  });
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
  const { port } = slow.address() as AddressInfo;
  const deaf = await connectTo(`http://127.0.0.1:${port}`);
  deaf.pause();
  deaf.write(`GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /${1 << 26} HTTP/1.1\r\nhost: x\r\n\r\n`);
  const begun = performance.now();
  await until(() => closed, [1, 1 << 26]);
  expect(performance.now() - begun).toBeGreaterThan(500);
  deaf.destroy();
  await new Promise((resolve) => slow.close(resolve));
});

/** Tells a story in one piece that no network takes at once. */
class LoudModel extends StoryModel {
  override async *generate(options: GenerateOptions) {
    const text = '!'.repeat(1 << 24);
    for await (const piece of super.generate(options)) yield { ...piece, text };
  }
}

test.each([false, true])('such an answer with stream: %s ends so, too', async (stream) => {
  const limits = { requestSeconds: 0.3, maxBufferedBytes: 1 << 30 };
  const { url } = await follow(serve(new LoudModel(), { port: 0, ...limits }));
  const deaf = await connectTo(url);
  deaf.pause();
  deaf.write(requestBytes('/v1/completions', { prompt: 'x', max_tokens: 1, stream }));
  await until(async () => (await metricsOf(url)).get('moe_requests_total{code="499"}'), 1);
  deaf.destroy();
});

test('a body that never ends is answered 408', async () => {
  const { url } = await start({ requestSeconds: 0.5 });
  const socket = await connectTo(url);
  socket.write(requestBytes(path, long).slice(0, -10));
  const text = await received(socket);
  expect(text).toMatch(/^HTTP\/1\.1 408 .*connection: close.*\{"error":\{"message":"The body/is);
  await until(async () => (await metricsOf(url)).get('moe_requests_total{code="408"}'), 1);
});

test('bytes that are no request, and heads that are late, are answered in the form of all errors', async () => {
  const { url } = await start({ requestSeconds: 0.3 });
  for (const [bytes, status] of [
    ['BREW /pot\r\n\r\n', 400],
    [`GET /health HTTP/1.1\r\nx: ${'y'.repeat(20000)}\r\n\r\n`, 431],
    ['GET /health HTTP/1.1\r\nhost', 408],
  ] as const) {
    const socket = await connectTo(url);
    socket.write(bytes);
    const [head, body] = (await received(socket)).split('\r\n\r\n');
    expect(head).toMatch(`HTTP/1.1 ${status} `);
    expect(JSON.parse(body ?? '').error.type).toBe('invalid_request_error');
  }
});

test('a request that is whole leaves no timer, and no listener on its connection', async () => {
  const { url } = await start();
  const socket = await connectTo(url);
  const timers: NodeJS.Timeout[] = [];
  for (const kind of ['setTimeout', 'setInterval'] as const) {
    const real = globalThis[kind] as (...args: unknown[]) => NodeJS.Timeout;
    vi.spyOn(globalThis, kind).mockImplementation(((...args: unknown[]) => {
      const timer = real(...args);
      timers.push(timer);
      return timer;
    }) as never);
  }
  try {
    const ask = { messages: chat('x'), max_tokens: 3 };
    socket.write(requestBytes(path, { ...ask, stream: true }));
    await received(socket, ended);
    socket.write(requestBytes(path, { n: 0, stream: true }));
    await received(socket, (text) => text.endsWith('}}'));
    socket.write(requestBytes(path, ask));
    await received(socket, (text) => text.endsWith('}}}'));
    socket.write(requestBytes(path, { ...long, stream: true }));
    await received(socket, (text) => text.includes('data: '));
    socket.destroy();
  } finally {
    vi.restoreAllMocks();
  }
  expect(timers.length).toBeGreaterThanOrEqual(8);
  const left = () =>
    timers.filter((timer) => !(timer as unknown as { _destroyed: boolean })._destroyed);
  await until(() => left().length, 0);
});
