import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { ClosedError, MoEError } from '../base/errors.js';
import { workerSource } from './worker_source.js';

interface Pending {
  readonly kind: string;
  resolve(value: unknown): void;
  reject(error: unknown): void;
  timer?: NodeJS.Timeout;
}

/** Files of a checkpoint that tell of its text; undefined where there is none. */
export interface TextFiles {
  readonly tokenizer: string;
  readonly config: string | undefined;
}

/** A thread that encodes and renders, started when it is first asked, and again where it had to be stopped. */
export class TextWorker {
  readonly #files: TextFiles;
  #worker: Worker | undefined;
  #pending = new Map<number, Pending>();
  #next = 0;
  #closed = false;

  constructor(files: TextFiles) {
    this.#files = files;
  }

  /** Tokens of segments, one after another; only the first is given what begins a text. */
  async encode(segments: readonly string[], specialTokens: boolean): Promise<Int32Array> {
    return (await this.#ask('encode', { segments, specialTokens })) as Int32Array;
  }

  /** The text of a template. One that takes longer than `milliseconds` is stopped. */
  async render(template: string, variables: object, milliseconds: number): Promise<string> {
    return (await this.#ask('render', { template, variables }, milliseconds)) as string;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#stop(new ClosedError('The model was closed'));
  }

  #ask(kind: string, argument: object, milliseconds?: number): Promise<unknown> {
    if (this.#closed) return Promise.reject(new ClosedError('The model is closed'));
    this.#worker ??= this.#start();
    const worker = this.#worker;
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      const pending: Pending = { kind, resolve, reject };
      this.#pending.set(id, pending);
      worker.ref();
      worker.postMessage({ id, kind, argument });
      if (milliseconds === undefined) return;
      pending.timer = setTimeout(() => {
        const words = `Expected the chat template to end within ${milliseconds} ms, and stopped it`;
        this.#stop(new MoEError('ERR_MOE_TIMEOUT', words));
      }, milliseconds);
    });
  }

  #start(): Worker {
    const require = createRequire(import.meta.url);
    const worker = new Worker(workerSource, {
      eval: true,
      execArgv: [], // flags of the process may make it read the source as a module
      workerData: {
        ...this.#files,
        tokenizers: require.resolve('@huggingface/tokenizers'),
        jinja: require.resolve('@huggingface/jinja'),
      },
    });
    worker.on('message', ({ id, value, error }) => {
      const pending = this.#take(id);
      if (error === undefined) pending?.resolve(value);
      else pending?.reject(new MoEError('ERR_MOE_CONFIG', this.#worded(pending.kind, error)));
    });
    worker.on('error', (error) => this.#stop(error));
    worker.unref();
    return worker;
  }

  #worded(kind: string, error: string): string {
    return kind === 'render'
      ? `The chat template failed: ${error}`
      : `The tokenizer of ${this.#files.tokenizer} failed: ${error}`;
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    clearTimeout(pending?.timer);
    if (this.#pending.size === 0) this.#worker?.unref();
    return pending;
  }

  /** What waits ends with the reason; what comes next starts another thread. */
  async #stop(reason: unknown): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(reason);
    await worker?.terminate();
  }
}
