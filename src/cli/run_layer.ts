import type { MoECheckpoint } from '../checkpoint/checkpoint.js';
import type { RoutedForwardResult } from '../layer/forward.js';
import type { MoELayer } from '../layer/layer.js';
import type { LoadOptions } from '../layer/options.js';
import { layerTensor, type Recording, type TokenIds } from './activations.js';
import { type Comparison, compare } from './expectation.js';
import { type LoadSummary, summarize } from './expert_load.js';
import { ProgressLine } from './progress.js';

export interface LayerRunOptions extends TokenIds {
  /** Name of the input tensor; `{layer}` stands for the layer's number. */
  tensor: string | undefined;
  /** Name of a recorded output to compare with; `true`: the usual one. */
  expected: string | true | undefined;
  /** What of the config has no effect. */
  diagnostics: readonly string[];
  load: LoadOptions & { signal: AbortSignal };
}

/** One layer run on one batch: what went in, what came out, how the tokens were routed. */
export interface LayerRun extends LoadSummary {
  layer: number;
  input: string;
  tokens: number;
  hiddenSize: number;
  intermediateSize: number;
  expertNum: number;
  numExpertsChosen: number;
  device: string;
  /** Processes that the experts are spread over. */
  ranks: number;
  weightType: string;
  weightBytes: number;
  loadMilliseconds: number;
  forwardMilliseconds: number;
  /** Tokens that each expert served. */
  expertLoad: number[];
  /** (token, choice) pairs that capacity cut. */
  droppedChoices: number;
  /** Slots per expert; null when dropless. */
  capacity: number | null;
  auxLoss: number;
  zLoss: number;
  /** Tokens that no expert could serve, because their numbers are not finite. */
  unroutableTokens: number;
  /** One sentence for each field of the config that has no effect. */
  diagnostics: readonly string[];
  /** Present when a recorded output was asked for. */
  expected?: Comparison;
  /** `[tokens, hiddenSize]`. */
  output: Float32Array;
  /** `[tokens, numExpertsChosen]`. */
  expertIds: Int32Array;
  /** `[tokens, numExpertsChosen]`. */
  expertWeights: Float32Array;
}

export async function runLayer(
  checkpoint: MoECheckpoint,
  number: number,
  recording: Recording,
  options: LayerRunOptions,
): Promise<LayerRun> {
  checkpoint.expectLayer(number);
  const input = recording.inputName(number, options.tensor);
  const hidden = await recording.rows(input, checkpoint.hiddenSize, options.tokens);
  const tokens = hidden.shape[0] ?? 0;

  const loadStart = performance.now();
  const layer = await load(checkpoint, number, options);
  try {
    const choosing = await recording.choosing(layer, number, options);
    const forwardStart = performance.now();
    const { group, signal } = options.load;
    const result = await layer.forward(hidden, {
      ...choosing,
      routing: true,
      ...(!group && { signal }),
    });
    const forwardMilliseconds = performance.now() - forwardStart;
    const { expertIds, weights } = result.routing;
    const expertLoad = Array.from(result.expertLoad);
    return {
      layer: number,
      input,
      tokens,
      hiddenSize: layer.hiddenSize,
      intermediateSize: layer.intermediateSize,
      expertNum: layer.config.expertNum,
      numExpertsChosen: layer.config.numExpertsChosen,
      device: layer.device,
      ranks: layer.group?.size ?? 1,
      weightType: layer.weightType,
      weightBytes: layer.weightBytes,
      loadMilliseconds: forwardStart - loadStart,
      forwardMilliseconds,
      expertLoad,
      ...summarize(expertLoad),
      droppedChoices: result.droppedChoices,
      capacity: result.capacity,
      auxLoss: result.auxLoss,
      zLoss: result.zLoss,
      unroutableTokens: countUnroutable(weights, layer.config.numExpertsChosen),
      diagnostics: group ? layer.diagnostics : options.diagnostics,
      ...(options.expected !== undefined && {
        expected: await compareWithRecorded(recording, layer, number, result, options),
      }),
      output: result.output,
      expertIds,
      expertWeights: weights,
    };
  } finally {
    await layer.close();
  }
}

/** Tokens whose first choice weighs NaN. */
function countUnroutable(weights: Float32Array, numExpertsChosen: number): number {
  return weights.filter((weight, slot) => slot % numExpertsChosen === 0 && Number.isNaN(weight))
    .length;
}

async function load(checkpoint: MoECheckpoint, number: number, { load }: LayerRunOptions) {
  const progress = new ProgressLine(`loading layer ${number}`);
  try {
    return await checkpoint.load(number, { ...load, onProgress: progress.update });
  } finally {
    progress.end();
  }
}

async function compareWithRecorded(
  recording: Recording,
  layer: MoELayer,
  number: number,
  { output, routing: { expertIds } }: RoutedForwardResult,
  { expected, tokens }: LayerRunOptions,
): Promise<Comparison> {
  const name = layerTensor('output', number, expected === true ? undefined : expected);
  const idsName = layerTensor('expert_ids', number);
  const recorded = await recording.rows(name, layer.hiddenSize, tokens);
  const recordedIds = recording.has(idsName)
    ? await recording.integerRows(idsName, layer.config.numExpertsChosen, tokens)
    : undefined;
  const identical = recordedIds?.every((expert, slot) => expert === expertIds[slot]) ?? null;
  return compare(name, output, recorded, identical);
}
