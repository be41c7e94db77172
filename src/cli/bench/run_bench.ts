import { addon } from '../../addon.js';
import type { MoEConfigOptions } from '../../config.js';
import { type Device, type DeviceName, resolveDevice } from '../../devices.js';
import { MoEError } from '../../errors.js';
import type { ExpertGroup } from '../../group.js';
import { type HeldOptions, heldRows } from '../../layer/options.js';
import { isQuantized } from '../../layer/parts.js';
import type { MoELayer, WeightType } from '../../layer.js';
import type { NativeMachinePeak } from '../../native.js';
import { given } from '../../rows.js';
import { LocalWorkers } from '../local_workers.js';
import { interruptSignal, layerArguments } from '../options.js';
import { ProgressLine } from '../progress.js';
import { bytes } from '../text.js';
import { busyFraction } from './busy.js';
import { type EventLoop, measureEventLoop } from './event_loop.js';
import { bitsPerWeight, type Case, measureCase } from './measure.js';
import { Peer, type PeerChoice } from './peer.js';
import { type PeerName, type PeerProgram, preparePeer } from './peer_install.js';
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
  /** `true`: every peer of the device's kind, in the type nearest to ours; torch only where it is there. */
  peers: readonly PeerChoice[] | true;
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
  const programs = await preparePeers(settings);
  const bench = new Bench(settings, programs, await busyFraction());
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
  readonly #programs: ReadonlyMap<PeerName, PeerProgram>;
  readonly #progress = new ProgressLine('measuring');
  readonly #signal = interruptSignal();
  readonly #cases: Case[] = [];
  readonly #busyFraction: number;
  #machine: NativeMachinePeak | undefined;
  #device = '';
  #eventLoop: EventLoop | undefined;

  constructor(
    settings: BenchSettings,
    programs: ReadonlyMap<PeerName, PeerProgram>,
    busyFraction: number,
  ) {
    this.#busyFraction = busyFraction;
    this.#settings = settings;
    this.#programs = programs;
  }

  /** Measures every batch size with one type of weights, and the event loop with the first type. */
  async measure(weightType: WeightType): Promise<void> {
    const {
      shape,
      threads,
      tokens: batches,
      seconds,
      eventLoopSeconds,
      weightTypes,
    } = this.#settings;
    const signal = this.#signal;
    const workers = await startWorkers(this.#settings, weightType);
    const layer = await createLayer(this.#settings, weightType, signal, workers?.group);
    this.#device = layer.device;
    const peers: Peer[] = [];
    const stopPeers = () => {
      for (const peer of peers) peer.close();
    };
    signal.addEventListener('abort', stopPeers);
    try {
      for (const choice of choicesFor(this.#settings, weightType)) {
        const program = this.#programs.get(choice.name);
        if (program !== undefined) peers.push(await Peer.start(choice, program, shape, threads));
      }
      for (const tokens of batches) {
        this.#progress.update(this.#cases.length, batches.length * weightTypes.length);
        signal.throwIfAborted();
        const machinePeak = layer.device === 'cpu' ? () => this.machinePeak() : undefined;
        this.#cases.push(
          await measureCase({
            ...{ shape, layer, weightType, peers, machinePeak },
            ...{ tokens, seconds, signal },
          }),
        );
      }
      const last = this.#cases.at(-1);
      if (eventLoopSeconds === 0 || this.#eventLoop !== undefined || last === undefined) return;
      const tokensPerSecond = (last.tokens / last.nodeMoe.milliseconds.median) * 1e3;
      this.#eventLoop = await measureEventLoop(
        layer,
        peers,
        shape,
        tokensPerSecond,
        eventLoopSeconds,
        signal,
      );
    } catch (error) {
      signal.throwIfAborted(); // a peer that was stopped ends with an error of its own
      throw error;
    } finally {
      signal.removeEventListener('abort', stopPeers);
      stopPeers();
      await layer.close();
      await workers?.close();
    }
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

/** The types of the peers' weights that come nearest to ours. onnxruntime-node's CPU provider has no 16-bit one. */
const nearestTypes: Readonly<Record<WeightType, Readonly<Record<PeerName, readonly string[]>>>> = {
  float32: { 'onnxruntime-node': ['f32'], ggml: ['f32'], torch: ['f32'] },
  bfloat16: { 'onnxruntime-node': ['f32'], ggml: ['bf16'], torch: ['bf16'] },
  float16: { 'onnxruntime-node': ['f32'], ggml: ['f16'], torch: ['f16'] },
  int8: { 'onnxruntime-node': ['q8'], ggml: ['q8_0'], torch: ['bf16'] },
  int4: { 'onnxruntime-node': ['q4'], ggml: ['q4_0', 'q4_K'], torch: ['bf16'] },
};

function choicesFor(
  { peers, device }: BenchSettings,
  weightType: WeightType,
): readonly PeerChoice[] {
  if (peers !== true) return peers;
  const names: readonly PeerName[] =
    resolveDevice(device).backend === 'cpu' ? ['onnxruntime-node', 'ggml'] : ['torch'];
  return names.flatMap((name) => nearestTypes[weightType][name].map((type) => ({ name, type })));
}

async function preparePeers(settings: BenchSettings): Promise<Map<PeerName, PeerProgram>> {
  const programs = new Map<PeerName, PeerProgram>();
  const choices = settings.weightTypes.flatMap((weightType) => choicesFor(settings, weightType));
  for (const name of new Set(choices.map((choice) => choice.name))) {
    try {
      programs.set(name, await preparePeer(name));
    } catch (error) {
      if (settings.peers !== true || name !== 'torch') throw error;
      process.stderr.write(`node-moe: no comparison: ${(error as Error).message}\n`);
    }
  }
  return programs;
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
  if (isQuantized(weightType)) return held;
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
function checkMemory({ shape, weightTypes, tokens }: BenchSettings): void {
  const packed = Math.max(...weightTypes.map((type) => bitsPerWeight[type])) / 8;
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

function deviceNamed(device: string): Device | undefined {
  const { backend, index } = resolveDevice(device);
  return addon()
    .devices()
    .find((status) => status.name === backend)?.devices[index];
}
