// What one call of the native model computes: for whom, and what of it is told.
import type { NativeSampling, NativeStep } from '../binding/model.js';
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

/** A text whose every row is asked for; nothing is sampled behind it. */
export interface Scored {
  /** Of a step, at most. */
  readonly rows: number;
  /** Gives a step the arrays that it fills. */
  place(step: NativeStep, row: number, rows: number): void;
}

/** What enters the feed-forward part of each layer, of all steps of a text. */
export class BlockInputs {
  readonly #size: { layers: number; hiddenSize: number };
  readonly #tokens: number;
  readonly #steps: { begin: number; of: Float32Array }[] = [];

  constructor(size: { layers: number; hiddenSize: number }, tokens: number) {
    this.#size = size;
    this.#tokens = tokens;
  }

  readonly place: Scored['place'] = (step, row, rows) => {
    const { layers, hiddenSize } = this.#size;
    step.blockInputs = new Float32Array(layers * rows * hiddenSize);
    this.#steps.push({ begin: row * hiddenSize, of: step.blockInputs });
  };

  /** `[T, H]` of each layer. */
  ofLayers(): Float32Array[] {
    const { layers, hiddenSize } = this.#size;
    return Array.from({ length: layers }, (_, layer) => {
      const all = new Float32Array(this.#tokens * hiddenSize);
      for (const { begin, of } of this.#steps) {
        const each = of.length / layers;
        all.set(of.subarray(each * layer, each * (layer + 1)), begin);
      }
      return all;
    });
  }
}

/** Of a sequence that may take part in a step. */
export interface StepSequence {
  /** The native model's. */
  readonly number: number;
  /** Known tokens that no step has had yet. */
  readonly left: number;
  readonly request: {
    readonly tokens: Int32Array;
    readonly sampling: NativeSampling;
    readonly scored?: Scored | undefined;
  };
}

/** Sequences of a step, and how many of its known tokens each feeds. */
export interface Batch<Sequence> {
  readonly sequences: readonly Sequence[];
  readonly counts: readonly number[];
}

/** Those that decode, and pieces of prompts in the order of admission. */
export function batchOf<Sequence extends StepSequence>(
  running: readonly Sequence[],
  stepTokens: number,
): Batch<Sequence> {
  const decoding = running.filter(({ left }) => left === 1);
  let budget = Math.max(1, stepTokens - decoding.length);
  const sequences = [...decoding];
  const counts = decoding.map(() => 1);
  for (const sequence of running) {
    if (sequence.left === 1 || budget === 0) continue;
    const count = Math.min(sequence.left, budget);
    budget -= count;
    sequences.push(sequence);
    counts.push(count);
  }
  return { sequences, counts };
}

/** A text that is scored has a step of its own: each of its rows is told. */
export function scoringBatchOf<Sequence extends StepSequence>(sequence: Sequence): Batch<Sequence> {
  const { left, request } = sequence;
  return { sequences: [sequence], counts: [Math.min(left, request.scored?.rows ?? left)] };
}

/** The call for a batch, with arrays for all that is asked of it. */
export function stepOf(
  { sequences, counts }: Batch<StepSequence>,
  cancellation: NativeCancellation,
): NativeStep {
  const size = sequences.length;
  const step: NativeStep = {
    sequences: Int32Array.from(sequences, ({ number }) => number),
    counts: Int32Array.from(counts),
    sampled: new Int32Array(size),
    cancellation,
  };
  if (sequences.some(({ request }) => request.sampling.logprobs >= 0)) {
    step.logprobs = new Float32Array(size);
    step.topTokens = new Int32Array(size * mostTops);
    step.topLogprobs = new Float32Array(size * mostTops);
  }
  for (const [index, { request, left }] of sequences.entries())
    request.scored?.place(step, request.tokens.length - left, counts[index] as number);
  return step;
}

/** What a step that has ended sampled for one of its sequences. */
export function sampledOf(step: NativeStep, index: number, logprobs: number): SampledToken {
  const token = step.sampled[index] as number;
  if (logprobs < 0) return { token };
  const { topTokens = new Int32Array(), topLogprobs = new Float32Array() } = step;
  const top: { token: number; logprob: number }[] = [];
  for (let i = index * mostTops; i < index * mostTops + logprobs; i++)
    if ((topTokens[i] as number) >= 0)
      top.push({ token: topTokens[i] as number, logprob: topLogprobs[i] as number });
  return { token, logprob: step.logprobs?.[index] as number, top };
}

/** Of a sequence from which nothing is sampled. */
export const unsampled: NativeSampling = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0 },
  ...{ repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 },
  biasTokens: new Int32Array(),
  biasValues: new Float32Array(),
  stopTokens: new Int32Array(),
  ...{ minTokens: 0, vocabulary: 1, seed: 0n, choice: 0, logprobs: -1 },
};
