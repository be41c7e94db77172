import { availableParallelism } from 'node:os';
import { MoEError } from '../../base/errors.js';
import { given } from '../../base/rows.js';
import { addon } from '../../binding/addon.js';
import { deviceAt, resolveDevice } from '../../binding/devices.js';
import { type KvType, kvBlock } from '../../binding/model.js';
import type { NativeMachinePeak } from '../../binding/native.js';
import { hasScales, rowsBeside } from '../../binding/weight_formats.js';
import { MoECheckpoint } from '../../checkpoint/checkpoint.js';
import type { WeightType } from '../../layer/options.js';
import { describeModel, type ModelDescription } from '../../model/describe.js';
import { madeUpSize } from '../../model/foretell.js';
import { checkModel, loadModel, readDescription } from '../../model/load.js';
import { loadMadeUp } from '../../model/load_made_up.js';
import { MoEModel } from '../../model/model.js';
import { type HeldModelOptions, heldModelRows } from '../../model/options.js';
import { packedBytes } from '../../model/packed/size.js';
import { kvBytesRead, ModelSize, type WeightBytes } from '../../model/size.js';
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
  /** Left out: as a checkpoint is stored, bfloat16 of a model that is made up. */
  weightType?: readonly WeightType[];
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
  const { prompt, sequences, newTokens, checkpoint, model: made, kvType, rounds } = settings;
  const measured = await (checkpoint === undefined
    ? measuredOf(madeUpConfig(settings))
    : measuredCheckpoint(checkpoint));
  const weightType = settings.weightType ?? [made === undefined ? undefined : 'bfloat16'];
  const total = prompt.length * sequences.length * weightType.length * kvType.length * rounds;
  const progress = new ProgressLine('measuring');
  const peaks: NativeMachinePeak[] = [];
  const machinePeak = async () => {
    const peak = await addon().measureMachinePeak(threads, peakSeconds);
    peaks.push(peak);
    progress.update(peaks.length, total);
    return peak;
  };
  const cases: ModelCase[] = [];
  let device = '';
  try {
    for (const type of weightType)
      for (const kv of kvType) {
        const held = { ...heldAs(settings, type), kvType: kv };
        const model = await modelOf(settings, held, signal);
        try {
          device = model.device;
          cases.push(...(await casesOf(model, measured, held, settings, machinePeak, signal)));
        } finally {
          await model.close();
        }
      }
  } finally {
    progress.end();
  }
  const { description, parameters } = measured;
  const best = (of: (peak: NativeMachinePeak) => number) => Math.max(...peaks.map(of));
  return {
    model: settings.model ?? settings.checkpoint ?? '',
    layers: description.spec.layers,
    ...{ parameters, newTokens, device, threads, busyFraction: busy },
    kernels: cpu()?.kernels ?? '',
    machine: {
      threads,
      gflops: best(({ gflops }) => gflops),
      gigabytesPerSecond: best(({ gigabytesPerSecond }) => gigabytesPerSecond),
    },
    cases,
  };
}

/** What a model has to read. */
interface Measured {
  description: ModelDescription;
  parameters: number;
  weightBytes(held: HeldModelOptions): WeightBytes;
  /** The type that it is held in where none is asked for. */
  stored: WeightType;
}

/** By the tensors, as they are held as published by their own types; of a packed model as it is. */
async function measuredCheckpoint(path: string): Promise<Measured> {
  await using checkpoint = await MoECheckpoint.open(path);
  const { tensors, weightType: stored } = checkpoint;
  const { config, description } = await readDescription(tensors);
  const source = await checkModel(checkpoint, tensors.folder, description, resolveDevice('cpu'));
  if (!source.inPlace)
    return measuredBy(description, stored, await ModelSize.of(checkpoint, source, description));
  const [{ parameters }, bytes] = await Promise.all([
    madeUpSize(config, description),
    packedBytes(checkpoint),
  ]);
  return { description, parameters, stored, weightBytes: () => bytes };
}

async function measuredOf(config: object): Promise<Measured> {
  const description = describeModel(config);
  return measuredBy(description, 'bfloat16', await madeUpSize(config, description));
}

const measuredBy = (
  description: ModelDescription,
  stored: WeightType,
  size: ModelSize,
): Measured => ({
  ...{ description, stored, parameters: size.parameters },
  weightBytes: (held) => size.weightBytes(held, cpu()?.weights),
});

const cpu = () => deviceAt(resolveDevice('cpu'));

/** The cases of one model, in which runs and the machine's rate take turns. */
async function casesOf(
  model: MoEModel,
  { description, stored, weightBytes }: Measured,
  held: HeldModelOptions & { kvType: KvType },
  { prompt, sequences: counts, newTokens, rounds }: ModelBenchSettings,
  machinePeak: () => Promise<NativeMachinePeak>,
  signal: AbortSignal,
): Promise<ModelCase[]> {
  const { weightType = stored, kvType } = held;
  const read = weightBytes(held);
  const cases: ModelCase[] = [];
  for (const promptTokens of prompt)
    for (const sequences of counts) {
      const wanted = { promptTokens, sequences, newTokens, signal };
      const activeExperts = await warmUp(model, wanted);
      const runs: Round[] = [];
      for (let round = 0; round < rounds; round++)
        runs.push({
          ...(await runSequences(model, { ...wanted, round })),
          peak: await machinePeak(),
        });
      const cache = kvBytesRead(description, kvType, promptTokens + newTokens / 2);
      const bytesPerStep = read.always + activeExperts * read.expert + sequences * cache;
      const rates = ratesOf(runs, sequences, bytesPerStep);
      cases.push({
        ...{ weightType, kvType, promptTokens, sequences },
        ...rates,
        ...{ activeExperts, bytesPerStep },
      });
    }
  return cases;
}

type Round = ModelRun & { peak: NativeMachinePeak };

function ratesOf(runs: readonly Round[], sequences: number, bytesPerStep: number) {
  const median = (of: (run: Round) => number) => spread(runs.map(of)).median;
  const rate = (run: ModelRun) => (run.tokensPerSecond / sequences) * (bytesPerStep / 1e9);
  return {
    promptTokensPerSecond: median((run) => run.promptTokensPerSecond),
    tokensPerSecond: median((run) => run.tokensPerSecond),
    gigabytesPerSecond: median(rate),
    bandwidthFraction: median((run) => rate(run) / run.peak.gigabytesPerSecond),
  };
}

/** What only integers have is left out for floats. */
function heldAs(
  settings: ModelBenchSettings,
  weightType: WeightType | undefined,
): HeldModelOptions {
  const { weightGroup, activationType, ...alike } = given(heldModelRows, {
    ...settings,
    ...{ weightType, kvType: undefined },
  }) as HeldModelOptions;
  return {
    ...alike,
    ...(weightType !== undefined && hasScales(weightType) && { weightGroup }),
    ...(activationType !== undefined && {
      activationType:
        weightType === undefined ? activationType : rowsBeside(weightType, activationType),
    }),
  };
}

function madeUpConfig({ model, layers }: ModelBenchSettings): Readonly<Record<string, unknown>> {
  const known = knownModels[model as KnownModelName];
  return { ...known, ...(layers !== undefined && { num_hidden_layers: layers }) };
}

/** The model with room for the largest case. */
async function modelOf(
  settings: ModelBenchSettings,
  held: HeldModelOptions,
  signal: AbortSignal,
): Promise<MoEModel> {
  const { prompt, sequences, newTokens, checkpoint } = settings;
  const blocks = Math.ceil((Math.max(...prompt) + newTokens + 1) / kvBlock) + 1;
  const kvTokens = Math.max(...sequences) * blocks * kvBlock;
  const progress = new ProgressLine('loading');
  const options = { ...held, kvTokens, signal, onProgress: progress.update };
  try {
    if (checkpoint !== undefined) return MoEModel.fromLoaded(await loadModel(checkpoint, options));
    const config = madeUpConfig(settings);
    await expectFits(config, options);
    return MoEModel.fromLoaded(await loadMadeUp(config, options));
  } finally {
    progress.end();
  }
}

async function expectFits(config: object, options: HeldModelOptions & { kvTokens: number }) {
  const { description, weightBytes } = await measuredOf(config);
  if (description.layers.every(({ dense }) => dense !== undefined))
    throw new UsageError(
      `Expected \`--layers\` to reach a layer with experts, got ${description.layers.length}, all of them dense`,
    );
  const { held } = weightBytes(options);
  const perToken = kvBytesRead(description, options.kvType ?? 'bfloat16', 1);
  const needed = held + options.kvTokens * perToken;
  const available = process.availableMemory();
  if (needed > available)
    throw new MoEError(
      'ERR_MOE_OUT_OF_MEMORY',
      `Expected weights and cache (${bytes(needed)}) to fit into the free memory (${bytes(available)}): give fewer \`--layers\``,
    );
}
