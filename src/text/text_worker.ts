import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { onAbort } from '../base/abort.js';
import { ClosedError, MoEError } from '../base/errors.js';
import { workerSource } from './worker_source.js';

/** What the thread is asked. */
interface Job {
  readonly kind: string;
  readonly argument: object;
  /** Time that it may take, once it is its turn. */
  readonly milliseconds: number | undefined;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** When a job ends that is not done. */
export interface JobLimits {
  readonly milliseconds?: number;
  /** It is not begun where it waits; where it runs nobody waits for it any more. */
  readonly signal?: AbortSignal | undefined;
}

/** What a checkpoint says of its text: paths of its files, or what would stand in them; undefined where there is none. */
export interface TextSource {
  /** Of where it comes from, for people. */
  readonly name: string;
  readonly tokenizer: string | object;
  readonly config: string | object | undefined;
}

/**
 * A thread that encodes and renders, started when it is first asked, and again where it had to be stopped. It is given one job at a
 * time, so that one that never ends is the only one that fails.
 */
export class TextWorker {
  readonly #source: TextSource;
  #worker: Worker | undefined;
  #running: { readonly job: Job; readonly timer: NodeJS.Timeout | undefined } | undefined;
  readonly #waiting: Job[] = [];
  #closed = false;

  constructor(source: TextSource) {
    this.#source = source;
  }

  /** Tokens of segments, one after another; only the first is given what begins a text. */
  async encode(
    segments: readonly string[],
    specialTokens: boolean,
    limits?: JobLimits,
  ): Promise<Int32Array> {
    return (await this.#ask('encode', { segments, specialTokens }, limits)) as Int32Array;
  }

  /** The text of a template. One that takes longer than `milliseconds` is stopped. */
  async render(template: string, variables: object, limits: JobLimits): Promise<string> {
    return (await this.#ask('render', { template, variables }, limits)) as string;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const reason = new ClosedError('The model was closed');
    for (const { reject } of this.#waiting.splice(0)) reject(reason);
    await this.#stop(reason);
  }

  async #ask(
    kind: string,
    argument: object,
    { milliseconds, signal }: JobLimits = {},
  ): Promise<unknown> {
    if (this.#closed) throw new ClosedError('The model is closed');
    signal?.throwIfAborted();
    let forget: (() => void) | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const job: Job = { kind, argument, milliseconds, resolve, reject };
        forget = signal && onAbort(signal, () => this.#drop(job, signal.reason));
        this.#waiting.push(job);
        this.#next();
      });
    } finally {
      forget?.();
    }
  }

  #drop(job: Job, reason: unknown): void {
    const at = this.#waiting.indexOf(job);
    if (at >= 0) this.#waiting.splice(at, 1);
    job.reject(reason);
  }

  /** Begins what waits first, unless something runs. */
  #next(): void {
    if (this.#running !== undefined) return;
    const job = this.#waiting.shift();
    if (job === undefined) {
      this.#worker?.unref();
      return;
    }
    const { kind, argument, milliseconds } = job;
    const words = `Expected the chat template to end within ${milliseconds} ms, and stopped it`;
    const stop = () => this.#stop(new MoEError('ERR_MOE_TIMEOUT', words));
    const timer = milliseconds === undefined ? undefined : setTimeout(stop, milliseconds);
    this.#running = { job, timer };
    this.#worker ??= this.#start();
    this.#worker.ref();
    this.#worker.postMessage({ kind, argument });
  }

  #start(): Worker {
    const require = createRequire(import.meta.url);
    const worker = new Worker(workerSource, {
      eval: true,
      execArgv: [], // flags of the process may make it read the source as a module
      workerData: {
        ...this.#source,
        tokenizers: require.resolve('@huggingface/tokenizers'),
        jinja: require.resolve('@huggingface/jinja'),
      },
    });
    worker.on('message', ({ value, error }) => {
      if (this.#worker !== worker) return; // it was stopped, and its job has failed
      const job = this.#finish();
      if (error === undefined) job?.resolve(value);
      else job?.reject(new MoEError('ERR_MOE_CONFIG', this.#worded(job.kind, error)));
      this.#next();
    });
    worker.on('error', (error) => {
      if (this.#worker === worker) this.#stop(error);
    });
    worker.unref();
    return worker;
  }

  #worded(kind: string, error: string): string {
    return kind === 'render'
      ? `The chat template failed: ${error}`
      : `The tokenizer of ${this.#source.name} failed: ${error}`;
  }

  #finish(): Job | undefined {
    clearTimeout(this.#running?.timer);
    const job = this.#running?.job;
    this.#running = undefined;
    return job;
  }

  /** What runs ends with the reason; what comes next starts another thread. */
  async #stop(reason: unknown): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#finish()?.reject(reason);
    this.#next();
    await worker?.terminate();
  }
}
