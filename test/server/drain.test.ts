// How a server ends.
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import {
  chat,
  connectTo,
  dechunked,
  post,
  received,
  requestBytes,
  start,
  until,
} from './support.js';

const path = '/v1/chat/completions';
const ask = { messages: chat('drain'), max_tokens: 30, ignore_eos: true };

describe('a server that goes down', () => {
  test('answers what has begun, refuses what comes, listens no more', async () => {
    const { server, url, model } = await start({ drainSeconds: 20 }, { stepMs: 10 });
    const kept = await connectTo(url); // its first request is answered: it is idle
    kept.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\n');
    await received(kept, (text) => text.endsWith('}'));
    const whole = post(url, path, ask);
    const streamed = post(url, path, { ...ask, stream: true });
    const busy = await connectTo(url);
    busy.write(requestBytes(path, { ...ask, stream: true }));
    await until(() => model.inUse().running, 3);
    const closing = server.close();
    expect(server.state).toBe('closing');
    expect(server.close()).toBe(closing);
    await once(kept, 'close');
    await expect(fetch(`${url}/health`)).rejects.toThrow();
    // On a connection that is open for its answer more can be asked: that it goes down.
    busy.write('GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n');
    const text = await received(busy);
    expect(text).toMatch(/\[DONE\]\n\n\r\n0\r\n\r\nHTTP\/1.1 503 .*\{"status":"closing"\}$/s);
    expect((await whole).status).toBe(200);
    expect(await (await streamed).text()).toMatch(/\[DONE\]\n\n$/);
    const before = performance.now();
    await closing;
    expect(performance.now() - before).toBeLessThan(1000); // though clients keep connections open
    expect(model.ended).toEqual({ whole: 3, aborted: 0, failed: 0 });
  });

  test('refuses a generation on a connection that is open', async () => {
    const { server, url, model } = await start({ drainSeconds: 20 }, { stepMs: 10 });
    const busy = await connectTo(url);
    busy.write(requestBytes(path, ask));
    await until(() => model.inUse().running, 1);
    const closing = server.close();
    busy.write(requestBytes(path, ask));
    expect(await received(busy)).toMatch(/^HTTP\/1.1 200 .*HTTP\/1.1 503 .*"code":"closing"\}\}$/s);
    await closing;
    expect(model.asked).toHaveLength(1);
  });

  test('ends what takes longer than `drainSeconds`, and says so', async () => {
    const { server, url, model } = await start({ drainSeconds: 0.2 }, { stepMs: 20 });
    const long = { ...ask, max_tokens: 2000 };
    const whole = post(url, path, long);
    const busy = await connectTo(url);
    busy.write(requestBytes(path, { ...long, stream: true }));
    await until(() => model.inUse().running, 2);
    const begun = performance.now();
    await server.close();
    expect(performance.now() - begun).toBeLessThan(1500);
    const refused = await whole;
    expect([refused.status, (await refused.json()).error.code]).toEqual([503, 'closing']);
    const events = dechunked(await received(busy)).split('\n\n');
    expect(events.at(-2)).toMatch(/^data: \{"error":\{.*"code":"closing"\}\}$/);
    await until(() => model.ended.aborted, 2);
  });

  test('waits no longer than that for clients that stop within a request or read nothing', async () => {
    const { server, url, model } = await start({ drainSeconds: 0.1, maxBufferedBytes: 1 << 30 });
    const half = await connectTo(url);
    half.write(requestBytes(path, ask).slice(0, -5));
    const deaf = await connectTo(url);
    deaf.pause();
    deaf.write(requestBytes(path, { ...ask, max_tokens: 3000, stream: true }));
    await until(() => model.inUse().running, 1);
    const begun = performance.now();
    await server.close();
    expect(performance.now() - begun).toBeLessThan(3000);
    for (const socket of [half, deaf]) socket.destroy();
  });

  test('goes down at once where nothing is asked', async () => {
    const { server, url } = await start({ drainSeconds: 20 });
    const silent = await connectTo(url); // as clients open them in advance
    const begun = performance.now();
    await server[Symbol.asyncDispose]();
    expect(performance.now() - begun).toBeLessThan(1000);
    silent.destroy();
  });
});
