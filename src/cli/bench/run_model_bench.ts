import { availableParallelism } from 'node:os';
import { MoEError } from '../../base/errors.js';
import { given } from '../../base/rows.js';
import { addon } from '../../binding/addon.js';
import { deviceAt, resolveDevice } from '../../binding/devices.js';
import { type KvType, kvBlock } from '../../binding/model.js';
import type { NativeMachinePeak } from '../../binding/native.js';
import { hasScales } from '../../binding/weight_formats.js';
import type { WeightType } from '../../layer/options.js';
import { describeModel, type ModelDescription } from '../../model/describe.js';
import { loadModel } from '../../model/load.js';
import { loadMadeUp } from '../../model/load_made_up.js';
import { MadeUpWeights } from '../../model/made_up.js';
import { MoEModel } from '../../model/model.js';
import { type HeldModelOptions, heldModelRows } from '../../model/options.js';
import { kvBytesRead, ModelSize } from '../../model/size.js';
import { UsageError } from '../config_overrides.js';
import { interruptSignal } from '../options.js';
import { ProgressLine } from '../progress.js';
import { bytes } from '../text.js';
import { busyFraction } from './busy.js';
import { type KnownModelName, knownModels } from './known_models.js';
import { type ModelRun, runSequences, warmUp } from './model_runs.js';
import { spread } from './samples.js';

export interface ModelBenchSettings
  extends Omit<HeldModelOptions, 'weightType' | 'kvType' | 'kvTokens'> {
  checkpoint?: string | undefined;
  model?: KnownModelName;
  layers?: number;
  prompt: readonly number[];
  sequences: readonly number[];
  newTokens: number;
  rounds: number;
  weightType: readonly WeightType[];
  kvType: readonly KvType[];
}

/** Prompts of a length, of a number of sequences at once. Medians of the rounds. */
export interface ModelCase {
  weightType: WeightType;
  kvType: KvType;
  promptTokens: number;
  sequences: number;
  /** Of all sequences together. */
  promptTokensPerSecond: number;
  tokensPerSecond: number;
  /** Experts that a step reads, of all layers. */
  activeExperts: number;
  /** What a step of generation has to read at least, of weights and cache. */
  bytesPerStep: number;
  gigabytesPerSecond: number;
  /** Of the rate of reading memory, measured in the same round; 1 is the limit. */
  bandwidthFraction: number;
}

export interface ModelBenchResult {
  model: string;
  layers: number;
  parameters: number;
  newTokens: number;
  device: string;
  kernels: string;
  threads: number;
  busyFraction: number;
  /** The best seen in this run. */
  machine: NativeMachinePeak;
  cases: ModelCase[];
}

const peakSeconds = 0.1;

/** Measures every number of sequences with every length of prompts, in each type of weights and cache. */
export async function runModelBench(settings: ModelBenchSettings): Promise<ModelBenchResult> {
  const signal = interruptSignal();
  const busy = await busyFraction();
  const threads = settings.threads ?? availableParallelism();
  const progress = new ProgressLine('measuring');
  const { prompt, sequences, newTokens, weightType, kvType, rounds } = settings;
  const total = prompt.length * sequences.length * weightType.length * kvType.length * rounds;
  const cases: ModelCase[] = [];
  const peaks: NativeMachinePeak[] = [];
  let done = 0;
  let told: { config: object; description: ModelDescription; size: ModelSize } | undefined;
  try {
    for (const weights of weightType)
      for (const kv of kvType) {
        const held = { ...heldAs(settings, weights), weightType: weights, kvType: kv };
        const model = await modelOf(settings, held, signal);
        try {
          const { config } = model;
          const description = told?.description ?? describeModel(config);
          told ??= { config, description, size: await sizeOf(config, description) };
          for (const promptTokens of prompt)
            for (const count of sequences) {
              const wanted = { promptTokens, sequences: count, newTokens, signal };
              const activeExperts = await warmUp(model, wanted);
              const runs: (ModelRun & { peak: NativeMachinePeak })[] = [];
              for (let round = 0; round < rounds; round++) {
                progress.update(done++, total);
                const run = await runSequences(model, { ...wanted, round });
                const peak = await addon().measureMachinePeak(threads, peakSeconds);
                runs.push({ ...run, peak });
                peaks.push(peak);
              }
              const read = told.size.weightBytes(held, deviceAt(resolveDevice('cpu'))?.weights);
              const context = promptTokens + newTokens / 2;
              const bytesPerStep =
                read.always +
                activeExperts * read.expert +
                count * kvBytesRead(description, kv, context);
              cases.push({
                ...{ weightType: weights, kvType: kv, promptTokens, sequences: count },
                ...caseOf(runs, count, bytesPerStep),
                ...{ activeExperts, bytesPerStep },
              });
            }
        } finally {
          await model.close();
        }
      }
  } finally {
    progress.end();
  }
  const { description, size } = told as NonNullable<typeof told>;
  return {
    model: settings.model ?? settings.checkpoint ?? '',
    layers: description.spec.layers,
    ...{ parameters: size.parameters, newTokens, device: 'cpu', threads, busyFraction: busy },
    kernels: deviceAt(resolveDevice('cpu'))?.kernels ?? '',
    machine: {
      threads,
      gflops: Math.max(...peaks.map(({ gflops }) => gflops)),
      gigabytesPerSecond: Math.max(...peaks.map(({ gigabytesPerSecond }) => gigabytesPerSecond)),
    },
    cases,
  };
}

function caseOf(
  runs: readonly (ModelRun & { peak: NativeMachinePeak })[],
  sequences: number,
  bytesPerStep: number,
) {
  const median = (of: (run: (typeof runs)[number]) => number) => spread(runs.map(of)).median;
  const rate = (run: ModelRun) => (run.tokensPerSecond / sequences) * (bytesPerStep / 1e9);
  return {
    promptTokensPerSecond: median((run) => run.promptTokensPerSecond),
    tokensPerSecond: median((run) => run.tokensPerSecond),
    gigabytesPerSecond: median(rate),
    bandwidthFraction: median((run) => rate(run) / run.peak.gigabytesPerSecond),
  };
}

const sizeOf = (config: object, description: ModelDescription) =>
  ModelSize.of(new MadeUpWeights(config, description), description);

/** What only integers have is left out for floats. */
function heldAs(settings: ModelBenchSettings, weightType: WeightType): HeldModelOptions {
  const { weightGroup, activationType, ...alike } = given(heldModelRows, {
    ...settings,
    weightType,
    kvType: undefined,
  }) as HeldModelOptions;
  return hasScales(weightType) ? { ...alike, weightGroup, activationType } : alike;
}

/** The model with room for the largest case. */
async function modelOf(
  settings: ModelBenchSettings,
  held: HeldModelOptions,
  signal: AbortSignal,
): Promise<MoEModel> {
  const { prompt, sequences, newTokens, checkpoint, model, layers } = settings;
  const blocks = Math.ceil((Math.max(...prompt) + newTokens + 1) / kvBlock) + 1;
  const kvTokens = Math.max(...sequences) * blocks * kvBlock;
  const progress = new ProgressLine('loading');
  const options = { ...held, kvTokens, signal, onProgress: progress.update };
  try {
    if (checkpoint !== undefined) return MoEModel.fromLoaded(await loadModel(checkpoint, options));
    const known: Readonly<Record<string, unknown>> = knownModels[model as KnownModelName];
    const config = { ...known, ...(layers !== undefined && { num_hidden_layers: layers }) };
    await expectFits(config, options);
    return MoEModel.fromLoaded(await loadMadeUp(config, options));
  } finally {
    progress.end();
  }
}

async function expectFits(config: object, options: HeldModelOptions & { kvTokens: number }) {
  const description = describeModel(config);
  if (description.layers.every(({ dense }) => dense !== undefined))
    throw new UsageError(
      `Expected \`--layers\` to reach a layer with experts, got ${description.layers.length}, all of them dense`,
    );
  const size = await sizeOf(config, description);
  const { held } = size.weightBytes(options, deviceAt(resolveDevice('cpu'))?.weights);
  const perToken = kvBytesRead(description, options.kvType ?? 'bfloat16', 1);
  const needed = held + options.kvTokens * perToken;
  const available = process.availableMemory();
  if (needed > available)
    throw new MoEError(
      'ERR_MOE_OUT_OF_MEMORY',
      `Expected weights and cache (${bytes(needed)}) to fit into the free memory (${bytes(available)}): give fewer \`--layers\``,
    );
}
