import { MoEError } from '../../base/errors.js';
import { given } from '../../base/rows.js';
import { addon } from '../../binding/addon.js';
import { type Device, type DeviceName, deviceAt, resolveDevice } from '../../binding/devices.js';
import type { NativeMachinePeak } from '../../binding/native.js';
import { hasScales, rowsBeside } from '../../binding/weight_formats.js';
import type { MoEConfigOptions } from '../../config/config.js';
import type { MoELayer } from '../../layer/layer.js';
import { type HeldOptions, heldRows, type WeightFormat } from '../../layer/options.js';
import { LocalWorkers } from '../local_workers.js';
import { interruptSignal, layerArguments } from '../options.js';
import { ProgressLine } from '../progress.js';
import { bytes } from '../text.js';
import { busyFraction } from './busy.js';
import { type EventLoop, measureEventLoop } from './event_loop.js';
import { bitsPerWeight, type Case, measureCase } from './measure.js';
import { expertElements, type Shape } from './shapes.js';
import { syntheticLayer } from './synthetic_layer.js';

/** Time given to each of the two rates of the machine, in every round. */
const peakSeconds = 0.05;

export interface BenchSettings extends Omit<HeldOptions, 'weightType' | 'group'> {
  shape: Shape;
  tokens: readonly number[];
  weightTypes: readonly WeightFormat[];
  device: DeviceName;
  threads: number;
  /** For each contestant and batch size. */
  seconds: number;
  /** Processes that the experts are spread over. */
  ranks: number;
  /** How the layer differs from a dropless one. */
  config: Partial<MoEConfigOptions>;
  /** 0: the event loop is not measured. */
  eventLoopSeconds: number;
}

export interface BenchResult {
  shape: Shape;
  device: string;
  /** What the device calls itself. */
  deviceName: string;
  /** The device is a stand-in: its times say nothing. */
  emulated: boolean;
  kernels: string;
  /** Of each rank. */
  threads: number;
  ranks: number;
  /** The part of the processors that other programs used when the run began. */
  busyFraction: number;
  /** The machine's own limits: the best seen in this run. Only for the cpu. */
  machine?: NativeMachinePeak;
  cases: Case[];
  eventLoop?: EventLoop;
}

/** Measures every batch size with each type of weights, and the event loop with the first type. */
export async function runBench(settings: BenchSettings): Promise<BenchResult> {
  checkMemory(settings);
  const { shape, tokens: batches, weightTypes, threads, ranks, seconds } = settings;
  const busy = await busyFraction();
  const progress = new ProgressLine('measuring');
  const signal = interruptSignal();
  const cases: Case[] = [];
  let best: NativeMachinePeak | undefined;
  let eventLoop: EventLoop | undefined;
  let device = '';
  const machinePeak = async () => {
    const now = await addon().measureMachinePeak(threads, peakSeconds);
    best = {
      threads: now.threads,
      gflops: Math.max(best?.gflops ?? 0, now.gflops),
      gigabytesPerSecond: Math.max(best?.gigabytesPerSecond ?? 0, now.gigabytesPerSecond),
    };
    return now;
  };
  const measure = async (weightType: WeightFormat, layer: MoELayer) => {
    device = layer.device;
    const peak = device === 'cpu' ? machinePeak : undefined;
    for (const tokens of batches) {
      progress.update(cases.length, batches.length * weightTypes.length);
      signal.throwIfAborted();
      const options = { shape, layer, weightType, machinePeak: peak, tokens, seconds, signal };
      cases.push(await measureCase(options));
    }
    const last = cases.at(-1);
    if (settings.eventLoopSeconds === 0 || eventLoop !== undefined || last === undefined) return;
    const rate = (last.tokens / last.nodeMoe.milliseconds.median) * 1e3;
    eventLoop = await measureEventLoop(layer, shape, rate, settings.eventLoopSeconds, signal);
  };
  try {
    for (const weightType of weightTypes)
      await withLayer(settings, weightType, signal, (layer) => measure(weightType, layer));
  } finally {
    progress.end();
  }
  const { name: deviceName = '', emulated = false, kernels = '' } = deviceNamed(device) ?? {};
  return {
    ...{ shape, device, deviceName, emulated, kernels, threads, ranks, busyFraction: busy },
    ...(best && { machine: best }),
    cases,
    ...(eventLoop && { eventLoop }),
  };
}

/** Makes the layer that a bench is about, with the processes that share its experts, and closes it after its use. */
export async function withLayer(
  settings: BenchSettings,
  weightType: WeightFormat,
  signal: AbortSignal,
  use: (layer: MoELayer) => Promise<void>,
): Promise<void> {
  const { shape, config, ranks } = settings;
  const held = heldAs(settings, weightType);
  const synthetic = ['--synthetic', JSON.stringify({ shape, config }), ...layerArguments(held)];
  const workers = ranks === 1 ? undefined : await LocalWorkers.start(ranks, synthetic);
  try {
    signal.throwIfAborted();
    const layer = await syntheticLayer(shape, { ...held, config, group: workers?.group });
    await use(layer).finally(() => layer.close());
  } finally {
    await workers?.close();
  }
}

/** How a layer of this type is held: what is only for integers is left out for floats. */
function heldAs(settings: BenchSettings, weightType: WeightFormat): HeldOptions {
  const held = given(heldRows, { ...settings, weightType });
  if (hasScales(weightType)) return held;
  const { weightGroup, activationType = 'float', ...ofFloats } = held;
  return { ...ofFloats, activationType: rowsBeside(weightType, activationType) };
}

/** Weights are held twice while a layer is made: as given in bfloat16, and packed. A batch has rows of every width. */
export function checkMemory({ shape, weightTypes, tokens }: BenchSettings): void {
  const packed = Math.max(...weightTypes.map(bitsPerWeight)) / 8;
  const { hiddenSize, intermediateSize, numExpertsChosen } = shape;
  const perToken = 4 * (4 * hiddenSize + numExpertsChosen * (2 * hiddenSize + intermediateSize));
  const needed = expertElements(shape) * (2 + packed) + Math.max(...tokens) * perToken;
  const available = process.availableMemory();
  if (needed > available)
    throw new MoEError(
      'ERR_MOE_OUT_OF_MEMORY',
      `Expected the weights and the largest batch (${bytes(needed)}) to fit into the free memory (${bytes(available)}): ` +
        'give fewer `--experts` or `--tokens`',
    );
}

export function deviceNamed(device: string): Device | undefined {
  return deviceAt(resolveDevice(device));
}
