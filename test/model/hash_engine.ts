import type { NativeModel, NativeSampling, NativeStep } from '../../src/binding/model.js';

/** The token that follows others: any function of all of them does. */
export function nextToken(tokens: readonly number[]): number {
  let hash = 2166136261;
  for (const token of tokens) hash = Math.imul(hash ^ token, 16777619) >>> 0;
  return hash % 1000;
}

interface Sequence {
  tokens: number[];
  done: number;
  limit: number;
  sampling: NativeSampling;
  inStep: boolean;
  released: boolean;
}

const failure = (code: string) => Object.assign(new Error(`it is ${code}`), { code });

/** A native model of a few lines, which complains when it is not used as it should be. */
export class HashEngine implements NativeModel {
  readonly weightBytes = 0;
  readonly cacheBytes = 0;
  readonly sequences = new Map<number, Sequence>();
  readonly capacity: number;
  /** Called before each step ends; what it throws is the step's failure. */
  beforeStep: (step: NativeStep) => Promise<void> = () =>
    new Promise((resolve) => setImmediate(resolve));
  steps = 0;
  released = 0;
  /** Steps that wait behind the one that runs; how many may; how many were one too many. */
  queued = 0;
  mostQueued = 1;
  refused = 0;
  #running = false;
  #next = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  admit(tokens: Int32Array, newTokens: number, sampling: NativeSampling) {
    const limit = tokens.length + newTokens;
    if (limit > this.capacity) throw failure('ERR_MOE_SHAPE');
    let used = 0;
    for (const sequence of this.sequences.values()) used += sequence.limit;
    if (used + limit > this.capacity) return undefined;
    const number = this.#next++;
    const begin = { done: 0, inStep: false, released: false };
    this.sequences.set(number, { tokens: [...tokens], limit, sampling, ...begin });
    return { sequence: number, cached: 0 };
  }

  /** Steps run one after another. */
  step(step: NativeStep): Promise<void> {
    let cancelled = false;
    (step.cancellation as unknown as { onCancel: () => void }).onCancel = () => {
      cancelled = true;
    };
    if (this.#running && this.queued >= this.mostQueued) {
      this.refused++;
      throw failure('ERR_MOE_QUEUE_FULL');
    }
    const waits = this.#running;
    if (waits) this.queued++;
    this.#running = true;
    const before = this.#last;
    const run = async () => {
      await before.catch(() => {});
      if (waits) this.queued--;
      this.#running = true;
      try {
        if (cancelled) throw failure('ERR_MOE_ABORTED');
        await this.#run(step, () => cancelled);
      } finally {
        this.#running = this.queued > 0;
      }
    };
    this.#last = run();
    return this.#last as Promise<void>;
  }

  /** Waits for the steps that run and wait. */
  async idle(): Promise<void> {
    await this.#last.catch(() => {});
  }

  async #run(step: NativeStep, cancelled: () => boolean): Promise<void> {
    this.steps++;
    if (new Set(step.sequences).size < step.sequences.length) throw new Error('A sequence twice');
    const parts = [...step.sequences].flatMap((number, index) => {
      const sequence = this.sequences.get(number);
      const count = step.counts[index] as number;
      step.sampled[index] = -3;
      if (sequence === undefined || sequence.done === sequence.tokens.length) return [];
      if (count < 1 || sequence.done + count > sequence.tokens.length)
        throw new Error(`${count} more than ${sequence.done} of ${sequence.tokens.length} tokens`);
      sequence.inStep = true;
      return [{ sequence, count, index, number }];
    });
    try {
      await this.beforeStep(step);
      if (cancelled()) throw failure('ERR_MOE_ABORTED');
      for (const { sequence, count, index } of parts) {
        sequence.done += count;
        step.sampled[index] = -1;
        if (sequence.done < sequence.tokens.length || sequence.tokens.length >= sequence.limit)
          continue;
        const token = sequence.tokens[0] === 13 ? -2 : nextToken(sequence.tokens);
        step.sampled[index] = token;
        if (token >= 0) sequence.tokens.push(token);
        else sequence.done -= count;
      }
    } finally {
      for (const { sequence, number } of parts) {
        sequence.inStep = false;
        if (sequence.released) this.sequences.delete(number);
      }
    }
  }

  release(number: number): void {
    const sequence = this.sequences.get(number);
    if (sequence === undefined || sequence.released) throw new Error(`No sequence ${number}`);
    sequence.released = true;
    if (!sequence.inStep) this.sequences.delete(number);
    this.released++;
  }

  usage() {
    return { blocks: 0, freeBlocks: 0, keptBlocks: 0, sequences: this.sequences.size };
  }
  expertLoad = () => new Float64Array();
  packed = () => ({ layout: '', parts: [] });
  readPacked = () => new Uint8Array();
  addLayer = async () => {};
  finish = async () => {};
  close = async () => {};
}

/** A cancellation that tells the engine. */
export const newCancellation = () => ({
  onCancel: () => {},
  cancel() {
    this.onCancel();
  },
});
