import { setTimeout as sleep } from 'node:timers/promises';
import { MoEError } from '../../base/errors.js';
import type { NativeMachinePeak } from '../../binding/native.js';
import { hasScales, weightFormats } from '../../binding/weight_formats.js';
import type { MoELayer } from '../../layer/layer.js';
import type { WeightFormat } from '../../layer/options.js';
import { referenceRows, relativeError } from './reference.js';
import { type Spread, spread, timeCalls } from './samples.js';
import { expertElements, type Shape } from './shapes.js';
import { syntheticHidden } from './synthetic.js';

/** Forwards and the machine's limits take turns this often, because a machine's speed drifts. */
const rounds = 5;

/** Between turns, so that threads of the one before that still spin do not disturb. */
const pauseMilliseconds = 20;

/** Largest error of a result whose time is believed: weights and inputs are exact in every float type. */
const tolerances: { [Type in WeightFormat]?: number } = { int8: 0.03, int4: 0.3 };
const exactTolerance = 1e-4;

/** The same where experts' intermediate rows are rounded to 16 bits: on every device but the cpu. */
const roundedTolerances: typeof tolerances = { ...tolerances, bfloat16: 2e-2, float16: 3e-3 };

/** Bits of a weight, with its share of a scale for each 32 weights. */
export const bitsPerWeight = (type: WeightFormat): number =>
  weightFormats[type].bits + (hasScales(type) ? 16 / 32 : 0);

export interface Measurement {
  milliseconds: Spread;
  samples: number;
  gflops: number;
  /** Against the plain computation: largest difference over largest element. */
  error: number;
}

/** How far a case is from what the machine does beside it, in turns; medians over the rounds. 1 is the limit. */
export interface Fractions {
  /** Of the multiply-add rate. */
  flopFraction: number;
  /** Of the rate of reading memory. */
  bandwidthFraction: number;
}

/** One batch size, measured. */
export interface Case {
  weightType: WeightFormat;
  tokens: number;
  /** Experts that at least one token chose: their weights are read. */
  activeExperts: number;
  /** With fractions where there are limits. */
  nodeMoe: Measurement & { gigabytesPerSecond: number } & Partial<Fractions>;
}

/** A batch of a layer. */
export interface BatchOptions {
  shape: Shape;
  layer: MoELayer;
  weightType: WeightFormat;
  tokens: number;
  signal: AbortSignal;
}

export interface MeasureOptions extends BatchOptions {
  /** Measures the machine's limits; absent where they are not known. */
  machinePeak: (() => Promise<NativeMachinePeak>) | undefined;
  /** Over all rounds. */
  seconds: number;
}

/** The call of a batch, after its result was compared with the plain computation. */
export async function checkedCall({ shape, layer, weightType, tokens, signal }: BatchOptions) {
  const hidden = syntheticHidden(tokens, shape);
  const out = new Float32Array(hidden.length);
  const call = () => layer.forward(hidden, { out, ...(!layer.group && { signal }) });

  const reference = referenceRows(tokens, shape);
  const { expertLoad } = await call();
  const error = relativeError(
    reference,
    (token, column) => out[token * shape.hiddenSize + column] ?? Number.NaN,
  );
  const tolerance =
    (layer.device === 'cpu' ? tolerances : roundedTolerances)[weightType] ?? exactTolerance;
  if (!(error <= tolerance))
    throw new MoEError(
      'ERR_MOE_INTERNAL',
      `Expected ${tokens} tokens in ${weightType} to differ from the plain computation by at most ${tolerance}, got ${error}`,
    );
  const activeExperts = expertLoad.filter((load) => load > 0).length;
  return { call, error, activeExperts, reference };
}

/** Checks the result of a batch, then times it and the machine's limits in turns. */
export async function measureCase(options: MeasureOptions): Promise<Case> {
  const { shape, machinePeak, tokens, seconds, signal } = options;
  const { call, error, activeExperts } = await checkedCall(options);
  const ours: number[][] = [];
  const peaks: NativeMachinePeak[] = [];
  for (let round = 0; round < rounds; round++) {
    await sleep(pauseMilliseconds, undefined, { signal });
    ours.push(await timeCalls(call, seconds / rounds));
    if (machinePeak !== undefined) peaks.push(await machinePeak());
  }

  const nodeMoe = measurement(ours, error, tokens, shape);
  const bytes = bytesMoved(options, activeExperts);
  return {
    weightType: options.weightType,
    tokens,
    activeExperts,
    nodeMoe: {
      ...nodeMoe,
      gigabytesPerSecond: bytes / nodeMoe.milliseconds.median / 1e6,
      ...(peaks.length > 0 && fractions(ours.map(median), peaks, flops(tokens, shape), bytes)),
    },
  };
}

export function measurement(
  turns: readonly number[][],
  error: number,
  tokens: number,
  shape: Shape,
): Measurement {
  const samples = turns.flat();
  const milliseconds = spread(samples);
  return {
    milliseconds,
    samples: samples.length,
    gflops: flops(tokens, shape) / milliseconds.median / 1e6,
    error,
  };
}

/** @param turns milliseconds of a call in each round */
function fractions(
  turns: readonly number[],
  peaks: readonly NativeMachinePeak[],
  flops: number,
  bytes: number,
): Fractions {
  const ofPeak = (amount: number, rate: (peak: NativeMachinePeak) => number) =>
    median(peaks.map((peak, round) => amount / (turns[round] as number) / 1e6 / rate(peak)));
  return {
    flopFraction: ofPeak(flops, ({ gflops }) => gflops),
    bandwidthFraction: ofPeak(bytes, ({ gigabytesPerSecond }) => gigabytesPerSecond),
  };
}

function median(samples: readonly number[]): number {
  return spread(samples).median;
}

/** Three products per choice, two flops for each multiply-add. */
function flops(tokens: number, { hiddenSize, intermediateSize, numExpertsChosen }: Shape): number {
  return 6 * tokens * numExpertsChosen * hiddenSize * intermediateSize;
}

/** What has to pass through memory at least: the chosen experts' weights, the router, input and output. */
function bytesMoved({ shape, weightType, tokens }: MeasureOptions, activeExperts: number): number {
  const weights = (expertElements(shape) / shape.expertNum) * activeExperts;
  const experts = (weights * bitsPerWeight(weightType)) / 8;
  return experts + 4 * shape.hiddenSize * (shape.expertNum + 2 * tokens);
}
