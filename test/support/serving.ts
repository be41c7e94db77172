// Clients of the serving example, and the example as a process.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { expect } from 'vitest';
import { root } from '../fixtures/command_line.js';
import { randomValues } from './layers.js';

/** Width of the layers of the test checkpoint. */
export const width = 128;
export const rows = (tokens: number, seed: number) => randomValues(tokens * width, seed);

export async function post(
  url: string,
  hidden: Float32Array,
  signal?: AbortSignal,
): Promise<Response> {
  return fetch(`${url}/v1/forward`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: hidden.slice().buffer,
    ...(signal && { signal }),
  });
}

export async function metricsOf(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const samples = [...text.matchAll(/^(\w+(?:\{[^}]*\})?) ([\d.e+-]+|NaN)$/gm)];
  return new Map(samples.map(([, name = '', value]) => [name, Number(value)]));
}

/** Waits until a metric has a value. */
export async function metricIs(
  url: string,
  name: string,
  value: number | undefined,
): Promise<void> {
  await expect
    .poll(async () => (await metricsOf(url)).get(name), { timeout: 10_000, interval: 20 })
    .toBe(value);
}

/** The bytes of a request for `hidden`. */
export function requestBytes(hidden: Float32Array, path = '/v1/forward'): Buffer {
  const body = Buffer.from(hidden.buffer, hidden.byteOffset, hidden.byteLength);
  const head = `POST ${path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/octet-stream\r\ncontent-length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

export async function connectTo(url: string): Promise<Socket> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  return socket;
}

/** Status and body of the next `count` answers on a connection. */
export async function answers(
  socket: Socket,
  count: number,
): Promise<{ status: number; body: Buffer }[]> {
  const found: { status: number; body: Buffer }[] = [];
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    for (;;) {
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) break;
      const head = bytes.toString('latin1', 0, end);
      const stop = end + 4 + Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (bytes.length < stop) break;
      found.push({ status: Number(head.split(' ')[1]), body: bytes.subarray(end + 4, stop) });
      bytes = bytes.subarray(stop);
    }
    if (found.length >= count) return found;
  }
  throw new Error(`Expected ${count} answers, got ${found.length} and the end of the connection`);
}

/** `node ARGUMENTS` of the serving example, what it has printed, and its end. */
export class ServerProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown[]>;
  stdout = '';
  stderr = '';

  constructor(args: readonly string[], environment: Record<string, string> = {}, cwd = root) {
    this.child = spawn(process.execPath, args, {
      cwd,
      env: { ...process.env, PORT: '0', ...environment },
    });
    this.ended = once(this.child, 'close');
    this.child.stdout?.setEncoding('utf8').on('data', (text) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text) => {
      this.stderr += text;
    });
  }

  /** Waits for a line on stdout. */
  async printed(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = pattern.exec(this.stdout)?.[0];
      if (found !== undefined) return found;
      const ended = this.ended.then(() => {
        throw new Error(`Expected ${pattern} on stdout, got ${this.stdout}${this.stderr}`);
      });
      await Promise.race([once(this.child.stdout as Readable, 'data'), ended]);
    }
  }

  url(): Promise<string> {
    return this.printed(/http:\/\/127\.0\.0\.1:\d+/);
  }
}
