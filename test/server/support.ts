// A server of the story model, and its clients.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import OpenAI from 'openai';
import { afterEach, expect } from 'vitest';
import { type ModelServer, type ServeOptions, serve } from '../../src/server/serve.js';
import { StoryModel, type StoryOptions } from './story_model.js';

export interface Started {
  model: StoryModel;
  server: ModelServer;
  url: string;
  client: OpenAI;
}

const started: ModelServer[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((server) => server.close()));
});

/** Serves a story model under the name `story` until the test ends. */
export async function start(
  options: ServeOptions = {},
  story: StoryOptions = {},
): Promise<Started> {
  const model = new StoryModel(story);
  const server = await follow(serve(model, { port: 0, drainSeconds: 1, ...options }));
  await server.ready;
  return { model, server, url: server.url, client: clientOf(server, options.apiKey) };
}

/** Closes a server when the test ends. */
export async function follow(starting: Promise<ModelServer>): Promise<ModelServer> {
  const server = await starting;
  started.push(server);
  return server;
}

export const clientOf = ({ url }: ModelServer, apiKey = 'none') =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });

export const chat = (content: string) => [{ role: 'user' as const, content }];

export async function post(url: string, path: string, body: unknown): Promise<Response> {
  return fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

export async function metricsOf(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const samples = [...text.matchAll(/^([\w:]+(?:\{[^}]*\})?) ([\d.e+-]+|NaN)$/gm)];
  return new Map(samples.map(([, name = '', value]) => [name, Number(value)]));
}

/** Waits until something is so. */
export const until = async (value: () => unknown, expected: unknown): Promise<void> =>
  expect.poll(value, { timeout: 5000, interval: 20 }).toEqual(expected);

/** The bytes of a request. */
export function requestBytes(path: string, body: object, headers = ''): string {
  const text = JSON.stringify(body);
  return (
    `POST ${path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n${headers}` +
    `content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  );
}

export async function connectTo(url: string): Promise<Socket> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** All that comes until the connection ends or `done` is true of it. */
export async function received(
  socket: Socket,
  done: (text: string) => boolean = () => false,
): Promise<string> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    if (done(bytes.toString())) break;
  }
  return bytes.toString();
}

/** The body of an answer in chunks, put together. */
export function dechunked(response: string): string {
  const [, ...rest] = response.split('\r\n\r\n');
  let body = Buffer.from(rest.join('\r\n\r\n'));
  let text = '';
  for (;;) {
    const line = body.indexOf('\r\n');
    const size = Number.parseInt(body.toString('latin1', 0, line), 16);
    if (!(size > 0)) return text;
    text += body.toString('utf8', line + 2, line + 2 + size);
    body = body.subarray(line + 2 + size + 2);
  }
}
