// Puts requests together: while one batch runs, the next one gathers. A token's result does not depend on the batch it is
// in (the layer must be dropless), so nobody can tell.

/** The queue is full: try again later. */
export class BusyError extends Error {
  name = 'BusyError';
}

/** The server is going down. */
export class ClosingError extends Error {
  name = 'ClosingError';
}

/**
 * @typedef {object} Request
 * @property {Float32Array} hidden
 * @property {AbortSignal} signal
 * @property {(rows: Float32Array) => void} resolve
 * @property {(reason: unknown) => void} reject
 */

export class Batcher {
  #layer;
  #limits;
  #onBatch;
  /** @type {Request[]} */
  #waiting = [];
  #waitingTokens = 0;
  /** @type {Promise<void> | undefined} */
  #running;
  /** Requests of the running batch whose callers still listen. */
  #listening = new Set();
  #stop = new AbortController();
  #closing = false;

  /**
   * @param {import('node-moe').MoELayer} layer
   * @param {{ maxBatchTokens: number, maxWaitingTokens: number }} limits tokens of one forward, and in the queue before
   *   further ones are refused
   * @param {(batch: { tokens: number, requests: number, seconds: number, expertLoad: Uint32Array }) => void} onBatch
   */
  constructor(layer, limits, onBatch = () => {}) {
    this.#layer = layer;
    this.#limits = limits;
    this.#onBatch = onBatch;
  }

  get waitingTokens() {
    return this.#waitingTokens;
  }

  get closing() {
    return this.#closing;
  }

  /**
   * The layer's output for some tokens, `[T, H]`.
   *
   * @param {Float32Array} hidden
   * @param {AbortSignal} signal the caller is gone
   * @returns {Promise<Float32Array>}
   */
  forward(hidden, signal) {
    const tokens = this.#tokensOf(hidden);
    if (this.#closing) return Promise.reject(new ClosingError('The server is going down'));
    if (this.#waitingTokens + tokens > this.#limits.maxWaitingTokens)
      return Promise.reject(new BusyError(`${this.#waitingTokens} tokens are waiting`));
    if (signal.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = deferred();
    const request = { hidden, signal, resolve, reject };
    const withdraw = () => this.#withdraw(request);
    signal.addEventListener('abort', withdraw);
    this.#waiting.push(request);
    this.#waitingTokens += tokens;
    this.#running ??= this.#run();
    // The signal may outlive the request, so it must not hold on to it.
    return promise.finally(() => signal.removeEventListener('abort', withdraw));
  }

  /** Takes no more requests, and waits for those it has. */
  async close() {
    this.#closing = true;
    await this.#running;
  }

  #tokensOf(hidden) {
    return hidden.length / this.#layer.hiddenSize;
  }

  #withdraw(request) {
    const place = this.#waiting.indexOf(request);
    if (place >= 0) {
      this.#waiting.splice(place, 1);
      this.#waitingTokens -= this.#tokensOf(request.hidden);
    } else if (this.#listening.delete(request) && this.#listening.size === 0) {
      this.#stop.abort(); // nobody is left to hear the answer
    }
    request.reject(request.signal.reason);
  }

  async #run() {
    await new Promise(setImmediate); // what came in the same turn of the event loop goes together
    while (this.#waiting.length > 0) await this.#runBatch(this.#take());
    this.#running = undefined;
  }

  /** The requests of the next batch: the oldest, and as many after it as fit. */
  #take() {
    let tokens = 0;
    const fits = ({ hidden }, place) => {
      tokens += this.#tokensOf(hidden);
      return place === 0 || tokens <= this.#limits.maxBatchTokens;
    };
    const end = this.#waiting.findIndex((request, place) => !fits(request, place));
    const batch = this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
    for (const { hidden } of batch) this.#waitingTokens -= this.#tokensOf(hidden);
    return batch;
  }

  /** @param {Request[]} batch */
  async #runBatch(batch) {
    const length = batch.reduce((sum, { hidden }) => sum + hidden.length, 0);
    const rows = new Float32Array(length);
    let offset = 0;
    for (const { hidden } of batch) {
      rows.set(hidden, offset);
      offset += hidden.length;
    }
    this.#listening = new Set(batch);
    this.#stop = new AbortController();
    const start = performance.now();
    try {
      const { output, expertLoad } = await this.#layer.forward(rows, {
        out: rows,
        signal: this.#stop.signal,
      });
      const seconds = (performance.now() - start) / 1000;
      const tokens = length / this.#layer.hiddenSize;
      this.#onBatch({ tokens, requests: batch.length, seconds, expertLoad });
      offset = 0;
      for (const { hidden, resolve } of batch) {
        resolve(output.subarray(offset, offset + hidden.length));
        offset += hidden.length;
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}

/** A promise and the two functions that settle it. */
function deferred() {
  let settle;
  const promise = new Promise((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, ...settle };
}
