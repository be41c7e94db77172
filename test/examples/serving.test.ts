import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createApp } from '../../examples/serving/app.mjs';
import { MoELayer } from '../../src/index.js';
import { root, tinyMixtral } from '../fixtures/command_line.js';
import { metricsOf, post, rows, width } from '../support/serving.js';

const checkpoint = join(root, tinyMixtral);

describe('the serving example', () => {
  let layer: MoELayer;
  let app: ReturnType<typeof createApp>;
  let url: string;

  async function start(options: Parameters<typeof createApp>[1] = {}): Promise<void> {
    app = createApp(layer, options);
    await app.listen({ port: 0, host: '127.0.0.1' });
    url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  }

  beforeEach(async () => {
    layer = await MoELayer.load(checkpoint, { layer: 0 });
  });
  afterEach(async () => {
    await app.close();
    await layer.close();
  });

  test('answers 400 requests of 40 clients with the bits that each gets alone, in fewer batches', {
    timeout: 60_000,
  }, async () => {
    await start({ maxBatchTokens: 64 });
    const [clients, each] = [40, 10];
    const one = async (client: number) => {
      for (let i = 0; i < each; i++) {
        const hidden = rows(1 + ((client + i) % 7), client * each + i);
        const response = await post(url, hidden);
        expect(response.status).toBe(200);
        const output = new Float32Array(await response.arrayBuffer());
        const alone = layer.forwardSync(hidden).output;
        expect(Buffer.compare(Buffer.from(output.buffer), Buffer.from(alone.buffer))).toBe(0);
      }
    };
    await Promise.all(Array.from({ length: clients }, (_, client) => one(client)));

    const metrics = await metricsOf(url);
    expect(metrics.get('moe_requests_total{code="200"}')).toBe(clients * each);
    const batches = metrics.get('moe_batch_tokens_count') ?? 0;
    expect(batches).toBeGreaterThan(0);
    expect(batches).toBeLessThan(clients * each * 0.75);
    expect(metrics.get('moe_forward_seconds_count')).toBe(batches);
    const served = [...metrics].filter(([name]) => name.startsWith('moe_expert_tokens_total'));
    const tokens = metrics.get('moe_batch_tokens_sum') ?? 0;
    expect(served.reduce((sum, [, value]) => sum + value, 0)).toBe(tokens * 2);
    expect(metrics.get('moe_waiting_tokens')).toBe(0);
  });

  test('refuses with 503 what does not fit into the queue, and serves what does', async () => {
    await start({ maxBatchTokens: 32, maxWaitingTokens: 64 });
    const responses = await Promise.all(
      Array.from({ length: 60 }, (_, i) => post(url, rows(16, i))),
    );
    const codes = responses.map(({ status }) => status);
    expect(new Set(codes)).toEqual(new Set([200, 503]));
    const refused = responses.find(({ status }) => status === 503);
    expect(refused?.headers.get('retry-after')).toBe('1');
    expect(await refused?.json()).toEqual({ error: expect.stringMatching(/tokens are waiting/) });
    expect((await post(url, rows(1, 1))).status).toBe(200);
    expect((await metricsOf(url)).get('moe_requests_total{code="503"}')).toBe(
      codes.filter((code) => code === 503).length,
    );
  });

  test('a client that goes away takes nothing from the others', async () => {
    await start({ maxBatchTokens: 16 });
    const controllers = Array.from({ length: 20 }, () => new AbortController());
    const gone = controllers.map(({ signal }, i) =>
      post(url, rows(16, i), signal).then(
        ({ status }) => status,
        (error: Error) => error.name,
      ),
    );
    const staying = Array.from({ length: 5 }, (_, i) => post(url, rows(3, 100 + i)));
    for (const controller of controllers) controller.abort();
    expect(new Set(await Promise.all(gone))).toContain('AbortError');
    for (const response of await Promise.all(staying)) expect(response.status).toBe(200);
    expect((await metricsOf(url)).get('moe_waiting_tokens')).toBe(0);
  });

  test.each([
    ['no whole row', new Float32Array(width + 1), 400],
    ['nothing', new Float32Array(), 400],
    ['more than a batch', new Float32Array(width * 33), 413],
  ])('%s is refused', async (_, hidden, code) => {
    await start({ maxBatchTokens: 32 });
    expect((await post(url, hidden)).status).toBe(code);
  });

  test('another content type is refused, and health says what it is', async () => {
    await start();
    const response = await fetch(`${url}/v1/forward`, { method: 'POST', body: 'text' });
    expect(response.status).toBe(415);
    expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: 'alive' });
    expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ status: 'ready', device: 'cpu' });
  });

  test('a layer with capacity is refused: requests would take each other’s places', async () => {
    await start();
    const limited = await MoELayer.load(checkpoint, { layer: 0, config: { capacityFactor: 1 } });
    expect(() => createApp(limited)).toThrow(/dropless/);
    await limited.close();
  });
});
