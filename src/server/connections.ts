import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** The status under which a request is counted whose client was gone before the answer. */
export const clientGone = 499;

/** Why a request ends whose client no longer listens. */
export class ClientGone extends Error {
  override readonly name = 'AbortError';
}

/** Follows every request to its end: answered, left by its client, or ended by the server. */
export class Connections {
  /** What to call for each open request of a connection when it is closed. */
  readonly #open = new WeakMap<Socket, Set<() => void>>();
  readonly #running = new Set<AbortController>();
  readonly #sockets = new Set<Socket>();
  readonly #onEnd: (code: number) => void;
  readonly #onIdle: () => void;

  /**
   * @param onEnd called once for every request
   * @param onIdle called after the last of the running requests has ended
   */
  constructor(onEnd: (code: number) => void, onIdle: () => void) {
    this.#onEnd = onEnd;
    this.#onIdle = onIdle;
  }

  /** Must be told of the server before it listens. */
  watch(server: Server): void {
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  /** Closes connections that nothing was ever sent on: Node does not count them as idle, and clients open them in advance. */
  closeSilent(): void {
    for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy();
  }

  /** Ends all requests. */
  stop(reason: Error): void {
    for (const controller of this.#running) controller.abort(reason);
  }

  /**
   * Follows one request. A connection may hold many at once, and thousands one after another, so it has one listener for all
   * of them. (Node closes the response of a pipelined request only where its turn has come.)
   *
   * @returns aborted when the client leaves before its answer; whoever aborts it ends the request
   */
  follow({ socket }: IncomingMessage, response: ServerResponse): AbortController {
    const open = this.#requestsOf(socket);
    const controller = new AbortController();
    const end = (code: number) => {
      if (!open.delete(leave)) return;
      this.#running.delete(controller);
      this.#onEnd(code);
      if (this.#running.size === 0) this.#onIdle();
    };
    const leave = () => {
      end(clientGone);
      controller.abort(new ClientGone('The client is gone'));
    };
    open.add(leave);
    this.#running.add(controller);
    // Node says so of answers, too, that were cut off with their connection.
    response.once('finish', () => end(socket.destroyed ? clientGone : response.statusCode));
    return controller;
  }

  #requestsOf(socket: Socket): Set<() => void> {
    const known = this.#open.get(socket);
    if (known !== undefined) return known;
    const open = new Set<() => void>();
    this.#open.set(socket, open);
    socket.once('close', () => {
      for (const leave of [...open]) leave();
    });
    return open;
  }
}

/** Closes the connection of a client that does not read an answer, all of which is there, in time. */
export function expectReader(response: ServerResponse, seconds: number): void {
  if (response.destroyed || response.writableFinished) return;
  const start = () => {
    const timer = setTimeout(() => response.destroy(), seconds * 1000).unref();
    response.once('close', () => clearTimeout(timer));
  };
  // A pipelined response has no connection before those before it are sent.
  if (response.socket === null) response.once('socket', start);
  else start();
}
