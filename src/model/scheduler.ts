// Which sequences take part in which step: continuous batching over one native model.
import { onAbort } from '../base/abort.js';
import { ClosedError, DeviceError, fromNative, MoEError } from '../base/errors.js';
import {
  kvBlock,
  type NativeModel,
  type NativeSampling,
  type NativeStep,
} from '../binding/model.js';
import type { NativeCancellation } from '../binding/native.js';
import {
  type Batch,
  batchOf,
  type SampledToken,
  type Scored,
  sampledOf,
  scoringBatchOf,
  stepOf,
  unsampled,
} from './step.js';

/** A sequence to run. */
export interface SequenceRequest {
  readonly tokens: Int32Array;
  /** Tokens to make room for. */
  readonly newTokens: number;
  readonly sampling: NativeSampling;
  readonly signal?: AbortSignal | undefined;
  /** Of a text that is scored: nothing is sampled behind it. */
  readonly scored?: Scored | undefined;
  /** Is called once, when it has its place: tokens of the prompt that were in the cache. */
  admitted(cached: number): void;
  /** Returns whether the sequence goes on. */
  sampled(token: SampledToken): boolean;
  /** Is called once, when nothing more will come; without a reason where `sampled` ended it, or all is scored. */
  ended(reason?: unknown): void;
}

/** A request that waits. */
interface Waiting {
  readonly request: SequenceRequest;
  /** Lets go of its signal. */
  readonly forget: () => void;
}

/** A request that has its place. */
interface Sequence extends Waiting {
  readonly number: number;
  /** Known tokens that no step has had yet. */
  left: number;
  /** Tokens that it may still sample. */
  room: number;
  /** Why it leaves before the next step. */
  leaving?: { reason: unknown };
  /** Whether it has given up its place. */
  ended: boolean;
}

/** A step that was handed to the native model. */
interface Step {
  readonly batch: Batch<Sequence>;
  readonly call: NativeStep;
  readonly cancellation: NativeCancellation;
  cancelled: boolean;
  /** Is resolved at its end, with what it failed of. */
  readonly failure: Promise<unknown>;
}

export interface SchedulerOptions {
  /** Rows of a step: sequences that decode have one each, pieces of prompts take the rest. */
  readonly stepTokens: number;
  /** Sequences that may wait for room. */
  readonly maxWaiting: number;
  /** Sequences find the beginnings of their prompts that others have computed. */
  readonly prefixCache: boolean;
  newCancellation(): NativeCancellation;
}

/**
 * Runs sequences, first come first served. Every step has all that decode and, within its budget, pieces of prompts; texts that are
 * scored take turns with them, in steps of their own. Where all decode and nobody waits, the next step is queued while one runs,
 * and begins when that has ended, before its tokens were told: a sequence that ends with them is left out of what follows, or its
 * row is computed for nothing.
 *
 * A sequence whose signal is aborted leaves before the next step; where half of the running step or more is its own, that step is
 * cancelled, which changes nothing for the others: they do it again.
 */
export class Scheduler {
  readonly #native: NativeModel;
  readonly #options: SchedulerOptions;
  #waiting: Waiting[] = [];
  #running: Sequence[] = [];
  #step: Step | undefined;
  /** What is queued behind it. */
  #ahead: Step | undefined;
  /** Whether the last step was of a text that is scored. */
  #scored = false;
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
    const { signal } = request;
    signal?.throwIfAborted();
    const { maxWaiting } = this.#options;
    if (this.#waiting.length >= maxWaiting)
      throw new DeviceError(
        'ERR_MOE_QUEUE_FULL',
        `Expected at most ${maxWaiting} waiting sequences (maxWaiting), got one more`,
      );
    const forget = signal && onAbort(signal, () => this.leave(request, signal.reason));
    this.#waiting.push({ request, forget: forget ?? (() => {}) });
    cancel(this.#ahead); // it would have to wait for it
    this.#loop ??= this.#run();
  }

  /**
   * Runs all tokens of a text.
   *
   * @throws `ShapeError` for a text that does not fit, and what `add` throws
   */
  score(tokens: Int32Array, scored: Scored, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.add({
        ...{ tokens, newTokens: 0, sampling: unsampled, signal, scored },
        admitted: () => {},
        sampled: () => true,
        ended: (reason) => (reason === undefined ? resolve() : reject(reason)),
      });
    });
  }

  /** The sequence leaves: at once where it waits, else before the next step. Its `ended` is called with the reason. */
  leave(request: SequenceRequest, reason: unknown): void {
    const waiting = this.#waiting.find((each) => each.request === request);
    if (waiting !== undefined) {
      this.#refuse(waiting, reason);
      return;
    }
    const sequence = this.#running.find((each) => each.request === request);
    if (sequence === undefined || sequence.leaving !== undefined) return;
    sequence.leaving = { reason };
    this.#cancelForThoseWhoLeave();
  }

  /** Ends all sequences with `ClosedError`, and waits for the step that runs. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiting of this.#waiting) this.#refuse(waiting, closedMeanwhile());
    for (const sequence of this.#running) sequence.leaving ??= { reason: closedMeanwhile() };
    for (const step of [this.#step, this.#ahead]) cancel(step);
    await this.#loop;
  }

  /** Cancels steps of which half or more is of sequences that leave or have ended. */
  #cancelForThoseWhoLeave(): void {
    for (const step of [this.#step, this.#ahead]) {
      if (step === undefined) continue;
      const { sequences, counts } = step.batch;
      let [all, leaving] = [0, 0];
      for (const [index, { leaving: leaves, ended }] of sequences.entries()) {
        const count = counts[index] as number;
        all += count;
        if (ended || leaves !== undefined) leaving += count;
      }
      if (2 * leaving >= all) cancel(step);
    }
  }

  async #run(): Promise<void> {
    // Requests of the same turn of the event loop begin together.
    await Promise.resolve();
    for (;;) {
      this.#removeLeaving();
      this.#admit();
      this.#step = this.#ahead;
      this.#ahead = undefined;
      if (this.#step === undefined && this.#running.length === 0) break;
      this.#step ??= this.#begin(this.#nextBatch());
      const ahead = this.#batchBehind(this.#step.batch);
      if (ahead !== undefined) this.#ahead = this.#tryToBegin(ahead);
      await this.#finish(this.#step);
    }
    // Nothing waits either: what nobody else has room beside is admitted or refused.
    this.#loop = undefined;
  }

  #removeLeaving(): void {
    for (const sequence of this.#running.filter(({ leaving }) => leaving !== undefined))
      this.#end(sequence, sequence.leaving?.reason);
  }

  #end(sequence: Sequence, reason?: unknown): void {
    this.#running = this.#running.filter((each) => each !== sequence);
    sequence.ended = true;
    this.#native.release(sequence.number);
    sequence.forget();
    sequence.request.ended(reason);
  }

  #refuse(waiting: Waiting, reason: unknown): void {
    this.#waiting = this.#waiting.filter((each) => each !== waiting);
    waiting.forget();
    waiting.request.ended(reason);
  }

  /** Admits those who wait, in their order, until one finds no room or had better wait. */
  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const { request } = next;
      if (this.#isBeingRead(request)) return;
      const { tokens, newTokens, sampling, scored } = request;
      let admission: ReturnType<NativeModel['admit']>;
      try {
        admission = this.#native.admit(tokens, newTokens, sampling, scored === undefined);
        if (admission === undefined && this.#running.length === 0 && this.#ahead === undefined)
          throw noRoom();
      } catch (error) {
        this.#refuse(next, fromNative(error));
        continue;
      }
      if (admission === undefined) return;
      const { sequence: number, cached } = admission;
      this.#waiting = this.#waiting.slice(1);
      const left = tokens.length - cached;
      this.#running.push({ ...next, number, left, room: newTokens, ended: false });
      request.admitted(cached);
    }
  }

  /** Whether somebody else computes the beginning of its prompt just now, which it then finds. */
  #isBeingRead({ tokens, scored }: SequenceRequest): boolean {
    if (!this.#options.prefixCache || scored !== undefined) return false;
    return this.#running.some(({ request, left }) => {
      if (left === 1 || request.scored !== undefined) return false;
      const shared = Math.min(commonLength(request.tokens, tokens), tokens.length - 1);
      return shared - (shared % kvBlock) > request.tokens.length - left;
    });
  }

  /** Texts that are scored and other sequences take turns; of the texts, the first. */
  #nextBatch(): Batch<Sequence> {
    const isScored = ({ request }: Sequence) => request.scored !== undefined;
    const text = this.#running.find(isScored);
    const others = this.#running.filter((sequence) => !isScored(sequence));
    this.#scored = text !== undefined && (others.length === 0 || !this.#scored);
    return text !== undefined && this.#scored
      ? scoringBatchOf(text)
      : batchOf(others, this.#options.stepTokens);
  }

  /** Those that decode behind a step in which all did, where nobody waits for more than one token. */
  #batchBehind({ sequences }: Batch<Sequence>): Batch<Sequence> | undefined {
    const together = new Set(sequences);
    const decodes = (each: Sequence) =>
      each.left === 1 && each.request.scored === undefined && together.has(each);
    if (this.#waiting.length > 0 || !this.#running.every(decodes)) return undefined;
    const going = this.#running.filter(({ leaving, room }) => leaving === undefined && room > 1);
    return going.length > 0 ? { sequences: going, counts: going.map(() => 1) } : undefined;
  }

  #begin(
    batch: Batch<Sequence>,
    start = async (call: NativeStep): Promise<void> => this.#native.step(call),
  ): Step {
    const cancellation = this.#options.newCancellation();
    const call = stepOf(batch, cancellation);
    const failure = start(call).then(() => undefined, fromNative);
    return { batch, call, cancellation, cancelled: false, failure };
  }

  /** Nothing where the device refuses what is not due yet: its queue may be full. */
  #tryToBegin(batch: Batch<Sequence>): Step | undefined {
    try {
      return this.#begin(batch, (call) => this.#native.step(call));
    } catch {
      return undefined;
    }
  }

  async #finish(step: Step): Promise<void> {
    const failure = await step.failure;
    const { batch, call } = step;
    const { sequences, counts } = batch;
    if (failure !== undefined) {
      const again = step.cancelled && (failure as MoEError).code === 'ERR_MOE_ABORTED';
      if (!again) for (const sequence of sequences) sequence.leaving ??= { reason: failure };
      return;
    }
    for (const [index, sequence] of sequences.entries()) {
      if (sequence.ended) continue;
      sequence.left -= counts[index] as number;
      if (sequence.leaving === undefined) this.#tell(sequence, call, index);
    }
    this.#cancelForThoseWhoLeave();
  }

  /** What the step has done for the sequence. */
  #tell(sequence: Sequence, step: NativeStep, index: number): void {
    const { request } = sequence;
    if ((step.sampled[index] as number) >= 0) {
      sequence.left += 1;
      sequence.room -= 1;
      try {
        if (!request.sampled(sampledOf(step, index, request.sampling.logprobs)))
          this.#end(sequence);
      } catch (error) {
        this.#end(sequence, error);
      }
    } else if (sequence.left === 0) {
      this.#end(sequence, request.scored === undefined ? noNumbers() : undefined);
    }
  }
}

/** Its sequences do it again. */
function cancel(step: Step | undefined): void {
  if (step === undefined) return;
  step.cancelled = true;
  step.cancellation.cancel();
}

/** Tokens that two texts begin with alike. */
function commonLength(a: Int32Array, b: Int32Array): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
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
