import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createServer } from '../../examples/serving/server.mjs';
import { MoELayer } from '../../src/index.js';
import { root, tinyMixtral } from '../fixtures/command_line.js';
import { randomValues } from '../support/layers.js';

const H = 128;
const checkpoint = join(root, tinyMixtral);
const rows = (tokens: number, seed: number) => randomValues(tokens * H, seed);

async function post(url: string, hidden: Float32Array, signal?: AbortSignal): Promise<Response> {
  return fetch(`${url}/v1/forward`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: hidden.slice().buffer,
    ...(signal && { signal }),
  });
}

async function metricsOf(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const samples = [...text.matchAll(/^(\w+(?:\{[^}]*\})?) ([\d.e+-]+|NaN)$/gm)];
  return new Map(samples.map(([, name = '', value]) => [name, Number(value)]));
}

describe('the serving example', () => {
  let layer: MoELayer;
  let app: ReturnType<typeof createServer>;
  let url: string;

  async function start(options: Parameters<typeof createServer>[1] = {}): Promise<void> {
    app = createServer(layer, options);
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
    ['no whole row', new Float32Array(H + 1), 400],
    ['nothing', new Float32Array(), 400],
    ['more than a batch', new Float32Array(H * 33), 413],
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
    expect(() => createServer(limited)).toThrow(/dropless/);
    await limited.close();
  });
});

test('as a process it serves until SIGTERM, answers every request that has come, and ends with 0', {
  timeout: 60_000,
}, async () => {
  const server: ChildProcess = spawn(
    process.execPath,
    ['examples/serving/server.mjs', tinyMixtral, '1'],
    { cwd: root, env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = once(server, 'exit');
  let log = '';
  server.stdout?.on('data', (text) => {
    log += text;
  });
  const logged = async (pattern: RegExp, times: number) => {
    while ([...log.matchAll(pattern)].length < times) await once(server.stdout as Readable, 'data');
    return pattern.exec(log)?.[0] ?? '';
  };
  try {
    const url = (await logged(/http:\/\/127\.0\.0\.1:\d+/g, 1)).trim();
    const answers = Array.from({ length: 30 }, (_, i) => post(url, rows(200, i)));
    await logged(/incoming request/g, 30);
    server.kill('SIGTERM');
    const codes = (await Promise.all(answers)).map(({ status }) => status);
    for (const code of codes) expect([200, 503]).toContain(code); // 503: its body was still on the way
    expect(await ended).toEqual([0, null]);
  } finally {
    server.kill('SIGKILL');
  }
});
