// The serving example as a process: its command, its arguments, its memory and its end.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { codeBlocks } from '../docs/markdown.js';
import { root, tinyMixtral } from '../fixtures/command_line.js';
import {
  answers,
  connectTo,
  metricsOf,
  post,
  requestBytes,
  rows,
  ServerProcess,
} from '../support/serving.js';

const program = 'examples/serving/server.mjs';

describe('the serving example as a process', { timeout: 60_000 }, () => {
  let server: ServerProcess | undefined;
  let folder: string;

  /** Starts it with its own arguments, or those of a `node` command. */
  function start(...[args, ...rest]: ConstructorParameters<typeof ServerProcess>): ServerProcess {
    server = new ServerProcess(args, ...rest);
    return server;
  }

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'moe-serving-'));
  });
  afterEach(async () => {
    server?.child.kill('SIGKILL');
    await server?.ended;
    server = undefined;
    rmSync(folder, { recursive: true });
  });

  test('serves until SIGTERM, answers every request that has come, logs none, and ends with 0', async () => {
    const { child, ended } = start([program, tinyMixtral, '1']);
    const url = await (server as ServerProcess).url();
    const sockets = await Promise.all(Array.from({ length: 30 }, () => connectTo(url)));
    const first = sockets.map((socket) => answers(socket, 1));
    for (const [i, socket] of sockets.entries()) socket.write(requestBytes(rows(1, i)));
    for (const [answer] of await Promise.all(first)) expect(answer?.status).toBe(200);
    const second = sockets.map((socket) => answers(socket, 1));
    for (const [i, socket] of sockets.entries()) socket.write(requestBytes(rows(200, i)));
    await Promise.race(second);
    child.kill('SIGTERM');
    // 503: its body was still on the way.
    for (const [answer] of await Promise.all(second)) expect([200, 503]).toContain(answer?.status);
    for (const socket of sockets) socket.destroy();
    expect(await ended).toEqual([0, null]);
    expect(server?.stderr).toBe('');
    expect(server?.stdout.trim().split('\n')).toHaveLength(1);
  });

  test('half a body holds up SIGTERM no longer than DRAIN_SECONDS', async () => {
    const { child, ended } = start([program, tinyMixtral, '0'], { DRAIN_SECONDS: '1' });
    const socket = await connectTo(await (server as ServerProcess).url());
    socket.on('error', () => {});
    socket.write(requestBytes(rows(1, 0)));
    await answers(socket, 1);
    socket.write(requestBytes(rows(4, 1)).subarray(0, 500));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const begin = performance.now();
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(performance.now() - begin).toBeLessThan(10_000);
    socket.destroy();
  });

  test('connections that stay for thousands of requests cost no memory and no warning', async () => {
    const measure = `process.on('SIGUSR2', () => {
      gc();
      gc();
      const { heapUsed, external } = process.memoryUsage();
      console.log('used:' + (heapUsed + external) + ';');
    });`;
    const { child } = start([
      '--expose-gc',
      '--import',
      `data:text/javascript,${encodeURIComponent(measure)}`,
      program,
      tinyMixtral,
      '0',
    ]);
    const url = await (server as ServerProcess).url();
    const agent = new Agent({ keepAlive: true, maxSockets: 8 });
    const body = requestBytes(rows(8, 1)).subarray(-8 * 512);
    const ask = () =>
      new Promise<number | undefined>((resolve, reject) => {
        const headers = { 'content-type': 'application/octet-stream' };
        const asked = request(`${url}/v1/forward`, { agent, method: 'POST', headers }, (answer) =>
          answer.resume().on('end', () => resolve(answer.statusCode)),
        );
        asked.on('error', reject).end(body);
      });
    const load = (requests: number) =>
      Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let i = 0; i < requests / 8; i++) expect(await ask()).toBe(200);
        }),
      );
    const used = async () => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      (server as ServerProcess).stdout = '';
      child.kill('SIGUSR2');
      return Number((await (server as ServerProcess).printed(/used:\d+;/)).slice(5, -1));
    };
    await load(800);
    const before = await used();
    await load(4000); // 16 MB of bodies
    expect((await used()) - before).toBeLessThan(4e6);
    expect((await metricsOf(url)).get('moe_requests_total{code="200"}')).toBe(4800);
    agent.destroy();
    expect(server?.stderr).toBe('');
  });

  test('the command of docs/serving.md runs where the package is a symbolic link', async () => {
    const text = readFileSync(join(root, 'docs/serving.md'), 'utf8');
    const commands = codeBlocks('docs/serving.md', text).flatMap(({ code }) => code.split('\n'));
    const command = commands.find((line) => /^node .*server\.mjs CHECKPOINT/.test(line)) ?? '';
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(root, join(folder, 'node_modules/node-moe'));
    symlinkSync(join(root, tinyMixtral), join(folder, 'CHECKPOINT'));
    start(command.split(' ').slice(1), {}, folder);
    const url = await (server as ServerProcess).url();
    expect((await post(url, rows(1, 1))).status).toBe(200);
  });

  test.each<[args: string[], environment: Record<string, string>, code: number, text: RegExp]>([
    [[], {}, 2, /^server\.mjs: usage: node server\.mjs CHECKPOINT \[LAYER\]\n$/],
    [[tinyMixtral, '0', 'more'], {}, 2, /^server\.mjs: usage/],
    [[tinyMixtral, 'first'], {}, 2, /Expected LAYER to be an integer from 0 on, got `first`\n$/],
    [[tinyMixtral], { PORT: 'http' }, 2, /Expected PORT to be an integer from 0 on, got `http`\n$/],
    [[tinyMixtral], { MAX_BATCH_TOKENS: '0' }, 2, /MAX_BATCH_TOKENS .* from 1 on, got `0`\n$/],
    [[tinyMixtral, '0'], { PORT: '65536' }, 1, /^server\.mjs: .*port.*\n$/],
    [['nowhere'], {}, 1, /^server\.mjs: .*nowhere.*\n$/],
    [[tinyMixtral, '99'], {}, 1, /^server\.mjs: .*99.*\n$/],
  ])('%j with %j ends with one line', async (args, environment, code, text) => {
    const { ended } = start([program, ...args], environment);
    expect(await ended).toEqual([code, null]);
    expect(server?.stderr).toMatch(text);
    expect(server?.stderr.trim().split('\n')).toHaveLength(1);
    expect(server?.stdout).toBe('');
  });
});
