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
  #next = 0;
  #stepping = false;

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
    this.sequences.set(number, { tokens: [...tokens], done: 0, limit, sampling });
    return { sequence: number, cached: 0 };
  }

  async step(step: NativeStep): Promise<void> {
    if (this.#stepping) throw new Error('Two steps at once');
    this.#stepping = true;
    this.steps++;
    let cancelled = false;
    (step.cancellation as unknown as { onCancel: () => void }).onCancel = () => {
      cancelled = true;
    };
    try {
      await this.beforeStep(step);
      if (cancelled) throw failure('ERR_MOE_ABORTED');
    } finally {
      this.#stepping = false;
    }
    if (new Set(step.sequences).size < step.sequences.length) throw new Error('A sequence twice');
    for (const [index, number] of step.sequences.entries()) {
      const sequence = this.sequences.get(number);
      const count = step.counts[index] as number;
      if (sequence === undefined) throw new Error(`No sequence ${number}`);
      if (count < 1 || sequence.done + count > sequence.tokens.length)
        throw new Error(`${count} more than ${sequence.done} of ${sequence.tokens.length} tokens`);
      sequence.done += count;
      step.sampled[index] = -1;
      if (sequence.done < sequence.tokens.length || sequence.tokens.length >= sequence.limit)
        continue;
      const token = sequence.tokens[0] === 13 ? -2 : nextToken(sequence.tokens);
      step.sampled[index] = token;
      if (token >= 0) sequence.tokens.push(token);
    }
  }

  release(number: number): void {
    if (this.#stepping) throw new Error('A step runs');
    if (!this.sequences.delete(number)) throw new Error(`No sequence ${number}`);
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
