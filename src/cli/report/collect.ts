import type { DeviceName } from '../../binding/devices.js';
import type { MoECheckpoint } from '../../checkpoint/checkpoint.js';
import type { MoEConfig, MoEConfigOptions } from '../../config/config.js';
import { toNativeConfig } from '../../config/native.js';
import { planPlacement } from '../../group/placement.js';
import type { Recording, TokenIds } from '../activations.js';
import { summarize } from '../expert_load.js';
import { ProgressLine } from '../progress.js';
import {
  confidences,
  droppedAt,
  loadByGroup,
  loadEntropy,
  quantile,
  rankCounts,
} from './statistics.js';

/** What the page shows, and `--json` prints. */
export interface ReportData {
  checkpoint: string;
  input: string;
  modelType: string;
  version: string;
  device: string;
  expertNum: number;
  numExpertsChosen: number;
  /** The config's; null when it is dropless. */
  capacityFactor: number | null;
  routingPolicy: string;
  /** Capacity factors of `ReportLayer.dropped`. */
  factors: number[];
  /** Numbers of ranks of `ReportLayer.balance`. */
  ranks: number[];
  layers: ReportLayer[];
}

export interface ReportLayer {
  layer: number;
  tokens: number;
  /** Tokens that chose each expert, nothing dropped. */
  expertLoad: number[];
  /** The busiest expert's load over the mean. */
  imbalance: number;
  busiest: number;
  unused: number[];
  /** From 0, one expert serves all, to 1, all serve as many. */
  entropy: number;
  unroutableTokens: number;
  /** Share of a token's weight that its first choice has: the 10th, 25th, 50th, 75th and 90th percentile. */
  confidence: (number | null)[];
  /** Part of the choices that `TopkRouterV2` drops at each factor. */
  dropped: number[];
  /**
   * The busiest rank's load over the mean, for each number of ranks: with consecutive experts on each, and placed as
   * `planPlacement` proposes without replicas.
   */
  balance: { consecutive: number; placed: number }[];
}

export interface CollectOptions extends TokenIds {
  layers: readonly number[];
  tensor: string | undefined;
  config: Partial<MoEConfigOptions>;
  device: DeviceName;
  threads: number | undefined;
  signal: AbortSignal;
}

/** Nothing is dropped: capacity is what the report asks about. */
const dropless = {
  routingPolicy: 'TopkRouterV2',
  capacityFactor: -1,
  expertCapacity: null,
} as const;
const percentiles = [0.1, 0.25, 0.5, 0.75, 0.9];

/** 1, 1.05, … 2, then wider steps to 4: where drops end in practice. */
const usualFactors = [
  ...Array.from({ length: 21 }, (_, i) => 1 + i / 20),
  ...Array.from({ length: 8 }, (_, i) => 2.25 + i / 4),
];

/** Routes a recorded batch through the layers, one after another. No expert is run. */
export async function collect(
  checkpoint: MoECheckpoint,
  recording: Recording,
  options: CollectOptions,
): Promise<Omit<ReportData, 'checkpoint' | 'input' | 'version'>> {
  const configured = checkpoint.configWith(options.config);
  const { expertNum, numExpertsChosen, routingPolicy, expertCapacity } = configured;
  const capacityFactor = expertCapacity === null ? configured.capacityFactor : 0;
  const own = capacityFactor > 0 ? [capacityFactor] : [];
  const factors = [...new Set([...usualFactors, ...own])].sort((a, b) => a - b);
  const ranks = rankCounts(expertNum);
  const layers: ReportLayer[] = [];
  let device = '';
  for (const number of options.layers) {
    checkpoint.expectLayer(number);
    const hidden = await recording.rows(
      recording.inputName(number, options.tensor),
      checkpoint.hiddenSize,
      options.tokens,
    );
    const progress = new ProgressLine(`loading layer ${number}`);
    await using layer = await checkpoint
      .load(number, {
        config: { ...options.config, ...dropless },
        device: options.device,
        signal: options.signal,
        onProgress: progress.update,
        ...(options.threads !== undefined && { threads: options.threads }),
      })
      .finally(() => progress.end());
    device = layer.device;
    const choosing = await recording.choosing(layer, number, options);
    const { expertIds, weights } = await layer.route(hidden, choosing);
    options.signal.throwIfAborted();
    const tokens = hidden.shape[0] ?? 0;
    layers.push(describeLayer(number, tokens, expertIds, weights, configured, factors, ranks));
  }
  return {
    modelType: checkpoint.modelType,
    device,
    expertNum,
    numExpertsChosen,
    capacityFactor: capacityFactor > 0 ? capacityFactor : null,
    routingPolicy,
    factors,
    ranks,
    layers,
  };
}

function describeLayer(
  layer: number,
  tokens: number,
  expertIds: Int32Array,
  weights: Float32Array,
  configured: MoEConfig,
  factors: readonly number[],
  ranks: readonly number[],
): ReportLayer {
  const { expertNum, numExpertsChosen } = configured;
  const { tokensPerGroup, capacityMultiple } = toNativeConfig(configured);
  const sizes = { expertNum, numExpertsChosen, tokensPerGroup };
  const groups = loadByGroup(expertIds, sizes);
  const expertLoad = Array.from({ length: expertNum }, (_, expert) =>
    groups.reduce((sum, load) => sum + (load[expert] ?? 0), 0),
  );
  const { imbalance, busiest, unused, served } = summarize(expertLoad);
  const shares = confidences(weights, numExpertsChosen);
  return {
    layer,
    tokens,
    expertLoad,
    imbalance,
    busiest,
    unused,
    entropy: loadEntropy(expertLoad),
    unroutableTokens: tokens - shares.length,
    confidence: percentiles.map((part) => quantile(shares, part)),
    dropped: factors.map(
      (factor) => droppedAt(factor, groups, tokens, sizes, capacityMultiple) / Math.max(served, 1),
    ),
    balance: ranks.map((count) => {
      const { imbalanceBefore, imbalanceAfter } = planPlacement(expertLoad, { ranks: count });
      // Nobody moves experts for a worse balance, which a greedy plan may have.
      return { consecutive: imbalanceBefore, placed: Math.min(imbalanceBefore, imbalanceAfter) };
    }),
  };
}
