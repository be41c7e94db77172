import { MoEError } from '../../base/errors.js';
import { given } from '../../base/rows.js';
import { addon } from '../../binding/addon.js';
import { type Device, type DeviceName, resolveDevice } from '../../binding/devices.js';
import type { NativeMachinePeak } from '../../binding/native.js';
import { hasScales } from '../../binding/weight_formats.js';
import type { MoEConfigOptions } from '../../config/config.js';
import type { ExpertGroup } from '../../group/group.js';
import type { MoELayer, WeightType } from '../../layer/layer.js';
import { type HeldOptions, heldRows } from '../../layer/options.js';
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
  weightTypes: readonly WeightType[];
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

export async function runBench(settings: BenchSettings): Promise<BenchResult> {
  checkMemory(settings);
  const bench = new Bench(settings, await busyFraction());
  try {
    for (const weightType of settings.weightTypes) await bench.measure(weightType);
    return bench.result();
  } finally {
    bench.end();
  }
}

/** What one run gathers. */
class Bench {
  readonly #settings: BenchSettings;
  readonly #progress = new ProgressLine('measuring');
  readonly #signal = interruptSignal();
  readonly #cases: Case[] = [];
  readonly #busyFraction: number;
  #machine: NativeMachinePeak | undefined;
  #device = '';
  #eventLoop: EventLoop | undefined;

  constructor(settings: BenchSettings, busyFraction: number) {
    this.#busyFraction = busyFraction;
    this.#settings = settings;
  }

  /** Measures every batch size with one type of weights, and the event loop with the first type. */
  async measure(weightType: WeightType): Promise<void> {
    const { shape, tokens: batches, seconds, eventLoopSeconds, weightTypes } = this.#settings;
    const signal = this.#signal;
    await withLayer(this.#settings, weightType, signal, async (layer) => {
      this.#device = layer.device;
      const machinePeak = layer.device === 'cpu' ? () => this.machinePeak() : undefined;
      for (const tokens of batches) {
        this.#progress.update(this.#cases.length, batches.length * weightTypes.length);
        signal.throwIfAborted();
        this.#cases.push(
          await measureCase({ shape, layer, weightType, machinePeak, tokens, seconds, signal }),
        );
      }
      const last = this.#cases.at(-1);
      if (eventLoopSeconds === 0 || this.#eventLoop !== undefined || last === undefined) return;
      const rate = (last.tokens / last.nodeMoe.milliseconds.median) * 1e3;
      this.#eventLoop = await measureEventLoop(layer, shape, rate, eventLoopSeconds, signal);
    });
  }

  end(): void {
    this.#progress.end();
  }

  result(): BenchResult {
    const { shape, threads, ranks } = this.#settings;
    const machine = this.#machine;
    const { name = '', emulated = false, kernels = '' } = deviceNamed(this.#device) ?? {};
    return {
      shape,
      device: this.#device,
      deviceName: name,
      emulated,
      kernels,
      threads,
      ranks,
      busyFraction: this.#busyFraction,
      ...(machine && { machine }),
      cases: this.#cases,
      ...(this.#eventLoop && { eventLoop: this.#eventLoop }),
    };
  }

  /** What the machine can do now; keeps the best of what was seen. */
  async machinePeak(): Promise<NativeMachinePeak> {
    const now = await addon().measureMachinePeak(this.#settings.threads, peakSeconds);
    this.#machine = {
      threads: now.threads,
      gflops: Math.max(this.#machine?.gflops ?? 0, now.gflops),
      gigabytesPerSecond: Math.max(this.#machine?.gigabytesPerSecond ?? 0, now.gigabytesPerSecond),
    };
    return now;
  }
}

/** Makes the layer that a bench is about, with the processes that share its experts, and closes it after its use. */
export async function withLayer(
  settings: BenchSettings,
  weightType: WeightType,
  signal: AbortSignal,
  use: (layer: MoELayer) => Promise<void>,
): Promise<void> {
  const workers = await startWorkers(settings, weightType);
  try {
    const layer = await createLayer(settings, weightType, signal, workers?.group);
    await use(layer).finally(() => layer.close());
  } finally {
    await workers?.close();
  }
}

function createLayer(
  settings: BenchSettings,
  weightType: WeightType,
  signal: AbortSignal,
  group: ExpertGroup | undefined,
): Promise<MoELayer> {
  const { shape, config } = settings;
  signal.throwIfAborted();
  return syntheticLayer(shape, { ...heldAs(settings, weightType), config, group });
}

/** How a layer of this type is held: what only integers have is left out for floats. */
function heldAs(settings: BenchSettings, weightType: WeightType): HeldOptions {
  const held = given(heldRows, { ...settings, weightType });
  if (hasScales(weightType)) return held;
  const { weightGroup, activationType, ...ofFloats } = held;
  return ofFloats;
}

/** The processes that share the layer's experts, none for a bench of one process. */
async function startWorkers(
  settings: BenchSettings,
  weightType: WeightType,
): Promise<LocalWorkers | undefined> {
  const { ranks, shape, config } = settings;
  if (ranks === 1) return undefined;
  const synthetic = JSON.stringify({ shape, config });
  const held = layerArguments(heldAs(settings, weightType));
  return LocalWorkers.start(ranks, ['--synthetic', synthetic, ...held]);
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
  const { backend, index } = resolveDevice(device);
  return addon()
    .devices()
    .find((status) => status.name === backend)?.devices[index];
}
