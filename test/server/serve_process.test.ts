// `node-moe serve` as a process.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { nodeMoe, root, tinyMixtral } from '../fixtures/command_line.js';
import { connectTo, post, received, requestBytes } from './support.js';

let child: ChildProcess | undefined;
afterEach(() => {
  child?.kill('SIGKILL');
});

/** Starts a server, and waits until it is ready. */
async function start(args: string[], environment: Record<string, string> = {}) {
  const command = ['dist/cli/main.js', 'serve', tinyMixtral, '--port', '0', ...args];
  const process_ = spawn(process.execPath, command, {
    cwd: root,
    env: { ...process.env, ...environment },
  });
  child = process_;
  const ended = once(process_, 'close');
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    process_[name].setEncoding('utf8').on('data', (text) => {
      output[name] += text;
    });
  await expect.poll(() => output.stdout, { timeout: 20_000 }).toContain('\nready\n');
  const [, url = ''] = /^listening on (http:\S+)\n/.exec(output.stdout) ?? [];
  return { url, ended, output, child: process_ };
}

const long = { prompt: 'A', max_tokens: 150, n: 8, stream: true, ignore_eos: true };

describe('node-moe serve', { timeout: 30_000 }, () => {
  test('answers, and after SIGTERM ends what it has begun', async () => {
    const { url, ended, output, child } = await start([]);
    const { data } = await (await fetch(`${url}/v1/models`)).json();
    expect(data[0].id).toBe('tiny-mixtral');
    const socket = await connectTo(url);
    socket.write(requestBytes('/v1/completions', long));
    await received(socket, (text) => text.includes('data: '));
    child.kill('SIGTERM');
    expect(await received(socket)).toMatch(/data: \[DONE\]\n\n\r\n0\r\n\r\n$/);
    expect(await ended).toEqual([0, null]);
    expect(output.stderr).toBe('');
  });

  test('a second signal ends it at once', async () => {
    const { url, ended, child } = await start(['--drain-seconds', '60']);
    const half = await connectTo(url);
    half.write(requestBytes('/v1/completions', long).slice(0, -5));
    await new Promise((resolve) => setTimeout(resolve, 100));
    child.kill('SIGTERM');
    await expect.poll(() => fetch(url).catch((error) => error.cause.code)).toBe('ECONNREFUSED');
    child.kill('SIGTERM');
    expect(await ended).toEqual([null, 'SIGTERM']);
    half.destroy();
  });

  test('its options arrive; Ctrl-C ends it', async () => {
    const flags = ['--model-name', 'fox', '--metrics-prefix', 'vllm:', '--context-length', '64'];
    const { url, ended, output, child } = await start([...flags, '--weight-type', 'int8'], {
      MOE_API_KEY: 'key',
    });
    expect((await fetch(`${url}/v1/models`)).status).toBe(401);
    const headers = { authorization: 'Bearer key' };
    const { data } = await (await fetch(`${url}/v1/models`, { headers })).json();
    expect(data[0]).toMatchObject({ id: 'fox', max_model_len: 64 });
    expect(await (await fetch(`${url}/metrics`)).text()).toContain(
      'vllm:num_requests_running{model_name="fox"} 0',
    );
    expect((await post(url, '/v1/completions', {})).status).toBe(401);
    child.kill('SIGINT');
    expect(await ended).toEqual([0, null]);
    expect(output.stderr).toBe('');
  });

  test('what cannot be served ends with one line', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const port = String((taken.address() as AddressInfo).port);
    const [used, missing, wrong] = await Promise.all([
      nodeMoe(['serve', tinyMixtral, '--port', port]),
      nodeMoe(['serve', 'nowhere', '--port', '0']),
      nodeMoe(['serve', tinyMixtral, '--port', '70000']),
    ]);
    taken.close();
    expect([used.code, used.stderr]).toEqual([
      1,
      expect.stringMatching(/^node-moe: .*EADDRINUSE.*\n$/),
    ]);
    expect([missing.code, missing.stderr]).toEqual([
      1,
      expect.stringMatching(/^node-moe: .*nowhere.*\n$/),
    ]);
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringMatching(/0 to 65535/)]);
  });
});
