import type { OutgoingHttpHeaders } from 'node:http';
import type { FastifyReply } from 'fastify';
import { ClientGone, expectReader } from './connections.js';

/** Limits of what is kept for a client. */
export interface StreamLimits {
  maxBufferedBytes: number;
  keepAliveSeconds: number;
  requestSeconds: number;
}

/**
 * An answer as server-sent events. It begins with the first of them, so that an error before it has a status of its own. Pieces
 * are never held back for a slow client, whose sequence would then hold its place for as long as the client likes: they wait
 * here, and when too many do the request ends.
 */
export class EventStream {
  readonly #reply: FastifyReply;
  readonly #limits: StreamLimits;
  readonly #stop: AbortController;
  readonly #opening: () => object[];
  readonly #timer: NodeJS.Timeout;
  #begun = false;

  /** @param opening the events that every stream begins with */
  constructor(
    reply: FastifyReply,
    limits: StreamLimits,
    stop: AbortController,
    opening: () => object[],
  ) {
    this.#reply = reply;
    this.#limits = limits;
    this.#stop = stop;
    this.#opening = opening;
    // A long prompt is silent: a comment keeps proxies from closing the connection, and finds out that a client is gone.
    const seconds = limits.keepAliveSeconds * 1000;
    this.#timer = setInterval(() => this.#write(': still working\n\n'), seconds).unref();
  }

  get begun(): boolean {
    return this.#begun;
  }

  /** Sends events with one write. */
  send(events: readonly object[]): void {
    if (events.length === 0) return;
    this.#timer.refresh();
    this.#write(events.map(eventOf).join(''));
  }

  /** Ends the stream, with the mark that all went well or with an error. */
  end(error?: object): void {
    const { raw } = this.#reply;
    clearInterval(this.#timer);
    this.#begin();
    raw.end(error === undefined ? 'data: [DONE]\n\n' : eventOf(error));
    expectReader(raw, this.#limits.requestSeconds);
  }

  /** Lets go of the stream: it has not begun and something else is answered, or nobody listens. */
  withdraw(): void {
    clearInterval(this.#timer);
  }

  #write(text: string): void {
    const { raw } = this.#reply;
    if (raw.destroyed || raw.writableEnded) return;
    this.#begin();
    raw.write(text);
    if (raw.writableLength <= this.#limits.maxBufferedBytes) return;
    this.#stop.abort(new ClientGone('The client reads too slowly'));
    raw.destroy();
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    const { raw } = this.#reply;
    const headers = this.#reply.getHeaders() as OutgoingHttpHeaders;
    this.#reply.hijack();
    raw.writeHead(200, {
      ...headers,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    });
    raw.write(this.#opening().map(eventOf).join(''));
  }
}

const eventOf = (event: object): string => `data: ${JSON.stringify(event)}\n\n`;
