// Which sequences take part in which step: continuous batching over one native model.
import { onAbort } from '../base/abort.js';
import { ClosedError, DeviceError, fromNative, MoEError } from '../base/errors.js';
import type { NativeModel, NativeSampling, NativeStep } from '../binding/model.js';
import type { NativeCancellation } from '../binding/native.js';

/** Likeliest tokens that a step has room for, of each sequence. */
const mostTops = 20;

/** What a step sampled for a sequence. */
export interface SampledToken {
  readonly token: number;
  /** Where they were asked for. */
  readonly logprob?: number;
  readonly top?: readonly { readonly token: number; readonly logprob: number }[];
}

/** A sequence to run. */
export interface SequenceRequest {
  readonly tokens: Int32Array;
  /** Tokens to make room for. */
  readonly newTokens: number;
  readonly sampling: NativeSampling;
  readonly signal?: AbortSignal | undefined;
  /** Is called once, when it has its place: tokens of the prompt that were in the cache. */
  admitted(cached: number): void;
  /** Returns whether the sequence goes on. */
  sampled(token: SampledToken): boolean;
  /** Is called once, when nothing more will come; without a reason where `sampled` ended it. */
  ended(reason?: unknown): void;
}

interface Sequence {
  readonly request: SequenceRequest;
  readonly number: number;
  /** Known tokens that no step has had yet. */
  left: number;
  /** Why it leaves before the next step. */
  leaving?: { reason: unknown };
}

/** A text whose every row is asked for. */
interface Scoring {
  readonly tokens: Int32Array;
  readonly rows: number;
  readonly place: (step: NativeStep, row: number, rows: number) => void;
  resolve(): void;
  reject(reason: unknown): void;
  /** Its sequence, once it has one, and the rows that are done. */
  number?: number | undefined;
  done: number;
}

/** Of a sequence from which nothing is sampled. */
const unsampled: NativeSampling = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0 },
  ...{ repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 },
  biasTokens: new Int32Array(),
  biasValues: new Float32Array(),
  stopTokens: new Int32Array(),
  ...{ minTokens: 0, vocabulary: 1, seed: 0n, choice: 0, logprobs: -1 },
};

interface Waiting {
  readonly request: SequenceRequest;
  forget(): void;
}

export interface SchedulerOptions {
  /** Rows of a step: sequences that decode have one each, pieces of prompts take the rest. */
  readonly stepTokens: number;
  /** Sequences that may wait for room. */
  readonly maxWaiting: number;
  newCancellation(): NativeCancellation;
}

/**
 * Runs sequences, first come first served. Every step has all that decode and, within its budget, pieces of prompts. The next step
 * begins when the one before has ended and its tokens were told, so the event loop is woken once per step.
 *
 * A sequence whose signal is aborted leaves before the next step; where most of the running step is its own, that step is
 * cancelled, which changes nothing for the others: they do it again.
 */
export class Scheduler {
  readonly #native: NativeModel;
  readonly #options: SchedulerOptions;
  #waiting: Waiting[] = [];
  #running: Sequence[] = [];
  #scoring: Scoring[] = [];
  #step:
    | { readonly cancellation: NativeCancellation; readonly counts: Int32Array; batch: Sequence[] }
    | undefined;
  /** Of the step of a text that is scored. */
  #scored: NativeCancellation | undefined;
  #loop: Promise<void> | undefined;
  #closed = false;

  constructor(native: NativeModel, options: SchedulerOptions) {
    this.#native = native;
    this.#options = options;
  }

  get running(): number {
    return this.#running.length;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Queues a sequence. Its `ended` is called in any case from now on.
   *
   * @throws `DeviceError` with `ERR_MOE_QUEUE_FULL` when `maxWaiting` wait, `ClosedError` after `close`, the signal's reason
   */
  add(request: SequenceRequest): void {
    if (this.#closed) throw new ClosedError('The model is closed');
    request.signal?.throwIfAborted();
    const { maxWaiting } = this.#options;
    if (this.#waiting.length >= maxWaiting)
      throw new DeviceError(
        'ERR_MOE_QUEUE_FULL',
        `Expected at most ${maxWaiting} waiting sequences (maxWaiting), got one more`,
      );
    const waiting: Waiting = { request, forget: () => {} };
    if (request.signal !== undefined)
      waiting.forget = onAbort(request.signal, () => {
        if (!this.#dropWaiting(waiting)) return;
        request.ended(request.signal?.reason);
      });
    this.#waiting.push(waiting);
    this.#wake();
  }

  /**
   * Runs all tokens of a text, `rows` in a step of their own between those of others. `place` gives each step its arrays.
   *
   * @throws `ShapeError` for a text that does not fit, `ClosedError`
   */
  score(
    tokens: Int32Array,
    rows: number,
    place: (step: NativeStep, row: number, rows: number) => void,
  ): Promise<void> {
    if (this.#closed) return Promise.reject(new ClosedError('The model is closed'));
    if (tokens.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#scoring.push({ tokens, rows, place, resolve, reject, done: 0 });
      this.#wake();
    });
  }

  /** The sequence leaves: at once where it waits, else before the next step. Its `ended` is called with the reason. */
  leave(request: SequenceRequest, reason: unknown): void {
    const waiting = this.#waiting.find((each) => each.request === request);
    if (waiting !== undefined && this.#dropWaiting(waiting)) {
      request.ended(reason);
      return;
    }
    const sequence = this.#running.find((each) => each.request === request);
    if (sequence === undefined || sequence.leaving !== undefined) return;
    sequence.leaving = { reason };
    this.#cancelFor(sequence);
  }

  /** Ends all sequences with `ClosedError`, and waits for the step that runs. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiting of this.#waiting.splice(0)) {
      waiting.forget();
      waiting.request.ended(closedMeanwhile());
    }
    for (const sequence of this.#running) sequence.leaving ??= { reason: closedMeanwhile() };
    this.#step?.cancellation.cancel();
    this.#scored?.cancel();
    await this.#loop;
  }

  /** Whether nothing has a place, so that there is none to wait for. */
  get #empty(): boolean {
    return this.#running.length === 0 && this.#scoring[0]?.number === undefined;
  }

  #dropWaiting(waiting: Waiting): boolean {
    const at = this.#waiting.indexOf(waiting);
    if (at < 0) return false;
    this.#waiting.splice(at, 1);
    waiting.forget();
    return true;
  }

  /** Cancels the running step where half of it or more is of sequences that leave. */
  #cancelFor(sequence: Sequence): void {
    const step = this.#step;
    if (step === undefined || !step.batch.includes(sequence)) return;
    let [all, leaving] = [0, 0];
    for (const [index, each] of step.batch.entries()) {
      const count = step.counts[index] as number;
      all += count;
      if (each.leaving !== undefined) leaving += count;
    }
    if (2 * leaving >= all) step.cancellation.cancel();
  }

  #wake(): void {
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined;
      if (this.#waiting.length > 0 || this.#scoring.length > 0) this.#wake();
    });
  }

  async #run(): Promise<void> {
    // Requests of the same turn of the event loop begin together.
    await Promise.resolve();
    for (;;) {
      this.#removeLeaving();
      this.#admit();
      if (this.#running.length > 0) await this.#runStep();
      else if (this.#scoring.length === 0) return;
      await this.#runScoring();
    }
  }

  #removeLeaving(): void {
    for (const sequence of this.#running.filter(({ leaving }) => leaving !== undefined))
      this.#end(sequence, sequence.leaving?.reason);
  }

  #end(sequence: Sequence, reason?: unknown): void {
    this.#running = this.#running.filter((each) => each !== sequence);
    this.#native.release(sequence.number);
    sequence.request.ended(reason);
  }

  /** Admits those who wait, in their order, until one finds no room. */
  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const { request } = next;
      let admission: ReturnType<NativeModel['admit']>;
      try {
        admission = this.#native.admit(request.tokens, request.newTokens, request.sampling);
        if (admission === undefined && this.#empty) throw noRoom();
      } catch (error) {
        this.#dropWaiting(next);
        request.ended(fromNative(error));
        continue;
      }
      if (admission === undefined) return;
      this.#dropWaiting(next);
      const { sequence: number, cached } = admission;
      const sequence: Sequence = { request, number, left: request.tokens.length - cached };
      this.#running.push(sequence);
      if (request.signal !== undefined) this.#watch(sequence, request.signal);
      request.admitted(cached);
    }
  }

  #watch(sequence: Sequence, signal: AbortSignal): void {
    const forget = onAbort(signal, () => this.leave(sequence.request, signal.reason));
    const { request } = sequence;
    const ended = request.ended.bind(request);
    request.ended = (reason) => {
      forget();
      ended(reason);
    };
  }

  /** The next rows of the first text that is scored. Where it finds no room it waits for others to end. */
  async #runScoring(): Promise<void> {
    const scoring = this.#scoring[0];
    if (scoring === undefined) return;
    const finish = (settle: () => void) => {
      this.#scoring.shift();
      if (scoring.number !== undefined) this.#native.release(scoring.number);
      settle();
    };
    try {
      if (this.#closed) throw closedMeanwhile();
      scoring.number ??= this.#native.admit(scoring.tokens, 0, unsampled, false)?.sequence;
      if (scoring.number === undefined && this.#empty) throw noRoom();
      if (scoring.number === undefined) return;
      const rows = Math.min(scoring.rows, scoring.tokens.length - scoring.done);
      const step: NativeStep = {
        sequences: Int32Array.of(scoring.number),
        counts: Int32Array.of(rows),
        sampled: new Int32Array(1),
        cancellation: this.#options.newCancellation(),
      };
      this.#scored = step.cancellation;
      scoring.place(step, scoring.done, rows);
      await this.#native.step(step);
      scoring.done += rows;
    } catch (error) {
      finish(() => scoring.reject(this.#closed ? closedMeanwhile() : fromNative(error)));
      return;
    } finally {
      this.#scored = undefined;
    }
    if (scoring.done === scoring.tokens.length) finish(scoring.resolve);
  }

  /** Those that decode, and pieces of prompts in the order of admission. */
  #batch(): { batch: Sequence[]; counts: number[] } {
    const decoding = this.#running.filter(({ left }) => left === 1);
    let budget = Math.max(1, this.#options.stepTokens - decoding.length);
    const batch = [...decoding];
    const counts = decoding.map(() => 1);
    for (const sequence of this.#running) {
      if (sequence.left === 1 || budget === 0) continue;
      const count = Math.min(sequence.left, budget);
      budget -= count;
      batch.push(sequence);
      counts.push(count);
    }
    return { batch, counts };
  }

  async #runStep(): Promise<void> {
    const { batch, counts } = this.#batch();
    const cancellation = this.#options.newCancellation();
    const step: NativeStep = {
      sequences: Int32Array.from(batch, ({ number }) => number),
      counts: Int32Array.from(counts),
      sampled: new Int32Array(batch.length),
      cancellation,
    };
    if (batch.some(({ request }) => request.sampling.logprobs >= 0)) {
      step.logprobs = new Float32Array(batch.length);
      step.topTokens = new Int32Array(batch.length * mostTops);
      step.topLogprobs = new Float32Array(batch.length * mostTops);
    }
    this.#step = { cancellation, counts: step.counts, batch };
    try {
      await this.#native.step(step);
    } catch (error) {
      const failure = fromNative(error);
      const cancelled =
        (failure as MoEError).code === 'ERR_MOE_ABORTED' &&
        batch.some(({ leaving }) => leaving !== undefined);
      if (!cancelled) for (const sequence of batch) sequence.leaving ??= { reason: failure };
      return;
    } finally {
      this.#step = undefined;
    }
    for (const [index, sequence] of batch.entries()) {
      const token = step.sampled[index] as number;
      sequence.left -= counts[index] as number;
      if (sequence.leaving !== undefined) continue;
      if (token >= 0) {
        sequence.left += 1;
        this.#tell(sequence, sampledOf(step, index, sequence.request.sampling.logprobs));
      } else if (sequence.left === 0) {
        sequence.leaving = { reason: noNumbers() };
      }
    }
  }

  #tell(sequence: Sequence, token: SampledToken): void {
    try {
      if (!sequence.request.sampled(token)) this.#end(sequence);
    } catch (error) {
      this.#end(sequence, error);
    }
  }
}

function closedMeanwhile(): ClosedError {
  return new ClosedError('The model was closed');
}

function noRoom(): MoEError {
  return new MoEError('ERR_MOE_INTERNAL', 'Expected room for a sequence in an empty cache');
}

function noNumbers(): MoEError {
  return new MoEError(
    'ERR_MOE_INTERNAL',
    'Expected the model to give logits that are numbers, got NaN for every token, or no token that may follow',
  );
}

function sampledOf(step: NativeStep, index: number, logprobs: number): SampledToken {
  const token = step.sampled[index] as number;
  if (logprobs < 0) return { token };
  const { topTokens = new Int32Array(), topLogprobs = new Float32Array() } = step;
  const top: { token: number; logprob: number }[] = [];
  for (let i = index * mostTops; i < index * mostTops + logprobs; i++)
    if ((topTokens[i] as number) >= 0)
      top.push({ token: topTokens[i] as number, logprob: topLogprobs[i] as number });
  return { token, logprob: step.logprobs?.[index] as number, top };
}
