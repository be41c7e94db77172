// Follows every request to its end: answered, or left by its client.

/** The status under which a request is counted whose client was gone before the answer. */
export const clientGone = 499;

export class Connections {
  /** @type {WeakMap<import('node:net').Socket, Set<() => void>>} what to call for each open request of a connection */
  #open = new WeakMap();
  #onEnd;

  /** @param {(code: number) => void} onEnd called once for every request */
  constructor(onEnd) {
    this.#onEnd = onEnd;
  }

  /**
   * Follows one request. A connection may hold many at once, and thousands one after another, so it has one listener for all
   * of them. (Node closes the response of a pipelined request only where its turn has come.)
   *
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   * @returns {AbortSignal} aborted when the client leaves before its answer
   */
  follow({ socket }, response) {
    const open = this.#requestsOf(socket);
    const gone = new AbortController();
    const end = (code) => {
      if (open.delete(leave)) this.#onEnd(code);
    };
    const leave = () => {
      end(clientGone);
      gone.abort();
    };
    open.add(leave);
    response.once('finish', () => end(response.statusCode));
    return gone.signal;
  }

  #requestsOf(socket) {
    const known = this.#open.get(socket);
    if (known !== undefined) return known;
    const open = new Set();
    this.#open.set(socket, open);
    socket.once('close', () => {
      for (const leave of open) leave();
    });
    return open;
  }
}
