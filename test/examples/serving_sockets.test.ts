// The serving example before clients that are slow, gone, or send many requests at once.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createApp } from '../../examples/serving/app.mjs';
import { MoELayer } from '../../src/index.js';
import { root, tinyMixtral } from '../fixtures/command_line.js';
import { answers, connectTo, metricIs, post, requestBytes, rows } from '../support/serving.js';

describe('the serving example on sockets', { timeout: 30_000 }, () => {
  let layer: MoELayer;
  let app: ReturnType<typeof createApp>;
  let url: string;

  async function start(options: Parameters<typeof createApp>[1] = {}): Promise<void> {
    app = createApp(layer, { drainSeconds: 0.2, ...options });
    await app.listen({ port: 0, host: '127.0.0.1' });
    url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  }

  beforeEach(async () => {
    layer = await MoELayer.load(join(root, tinyMixtral), { layer: 0 });
  });
  afterEach(async () => {
    await app.close();
    await layer.close();
  });

  test('pipelined requests are answered in order, and leave nothing on their connection', async () => {
    await start();
    const socket = await connectTo(url);
    const [accepted] = await new Promise<import('node:net').Socket[]>((resolve) => {
      app.server.once('request', (request) => resolve([request.socket]));
      socket.write(requestBytes(rows(1, 0)));
    });
    expect(await answers(socket, 1)).toHaveLength(1);
    const listeners = () => accepted?.eventNames().map((name) => accepted.listenerCount(name));
    const before = listeners();
    const hidden = Array.from({ length: 50 }, (_, i) => rows(1 + (i % 3), i));
    socket.write(Buffer.concat(hidden.map((one) => requestBytes(one))));
    const found = await answers(socket, hidden.length);
    for (const [i, one] of hidden.entries()) {
      const alone = layer.forwardSync(one).output;
      expect(found[i]?.status).toBe(200);
      expect(Buffer.compare(found[i]?.body as Buffer, Buffer.from(alone.buffer))).toBe(0);
    }
    expect(listeners()).toEqual(before);
    socket.destroy();
  });

  test('every request of a client that leaves counts as 499, once, pipelined ones too', async () => {
    await start({ maxBatchTokens: 16 });
    // The layer is held up, so that no answer can be under way before the client leaves.
    const forward = layer.forward.bind(layer);
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const stopped: boolean[] = [];
    layer.forward = (async (hidden: Float32Array, options: { signal: AbortSignal }) => {
      await held;
      stopped.push(options.signal.aborted);
      return forward(hidden, options);
    }) as typeof layer.forward;
    const socket = await connectTo(url);
    socket.write(Buffer.concat([0, 1, 2].map((i) => requestBytes(rows(16, i)))));
    await metricIs(url, 'moe_waiting_tokens', 32);
    socket.destroy();
    await metricIs(url, 'moe_requests_total{code="499"}', 3);
    await metricIs(url, 'moe_waiting_tokens', 0);
    letGo();
    expect((await post(url, rows(1, 1))).status).toBe(200);
    expect(stopped).toEqual([true, false]);
    await metricIs(url, 'moe_requests_total{code="499"}', 3);
    await metricIs(url, 'moe_requests_total{code="200"}', 1);
  });

  test('a client that leaves within its body counts as 499', async () => {
    await start();
    const socket = await connectTo(url);
    const bytes = requestBytes(rows(4, 1));
    socket.write(bytes.subarray(0, bytes.length - 100));
    await once(app.server, 'request');
    socket.destroy();
    await metricIs(url, 'moe_requests_total{code="499"}', 1);
  });

  test('a body that comes slowly is awaited, one that never ends is answered 408, and so is half a head', async () => {
    await start({ requestSeconds: 1 });
    const bytes = requestBytes(rows(4, 1));
    const slow = await connectTo(url);
    const half = await connectTo(url);
    half.write(bytes.subarray(0, bytes.length - 100));
    const head = await connectTo(url);
    head.write(bytes.subarray(0, 30));
    for (let at = 0; at < bytes.length; at += 800) {
      slow.write(bytes.subarray(at, at + 800));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect((await answers(slow, 1))[0]?.status).toBe(200);
    expect((await answers(half, 1))[0]?.status).toBe(408);
    expect((await answers(head, 1))[0]?.status).toBe(408);
    await metricIs(url, 'moe_requests_total{code="408"}', 1);
    expect((await post(url, rows(1, 1))).status).toBe(200);
    slow.destroy();
  });

  test('a request with a query counts, another method on its path does not', async () => {
    await start();
    const socket = await connectTo(url);
    socket.write(requestBytes(rows(1, 1), '/v1/forward?x=1'));
    expect((await answers(socket, 1))[0]?.status).toBe(200);
    socket.destroy();
    expect((await fetch(`${url}/v1/forward`)).status).toBe(404);
    await metricIs(url, 'moe_requests_total{code="200"}', 1);
    await metricIs(url, 'moe_requests_total{code="404"}', undefined);
  });

  test('going down waits for half a body and for an unread answer no longer than drainSeconds', async () => {
    await start({ maxBatchTokens: 4096, maxWaitingTokens: 65536, drainSeconds: 0.5 });
    const bytes = requestBytes(rows(4, 1));
    const half = await connectTo(url);
    half.write(bytes.subarray(0, bytes.length - 100));
    await once(app.server, 'request');
    const deaf = await connectTo(url);
    deaf.pause();
    deaf.on('error', () => {});
    half.on('error', () => {});
    for (let i = 0; i < 8; i++) deaf.write(requestBytes(rows(4096, i)));
    await once(app.server, 'request');
    const start_ = performance.now();
    await app.close();
    expect(performance.now() - start_).toBeLessThan(10_000);
    half.destroy();
    deaf.destroy();
  });
});
