/// <reference lib="esnext.disposable" preserve="true" />
import { addon } from './addon.js';
import { diagnose } from './config/diagnose.js';
import type { MoEConfig, MoEConfigOptions } from './config.js';
import { type DeviceName, deviceText, resolveDevice } from './devices.js';
import { fromNative } from './errors.js';
import type { ExpertGroup } from './group.js';
import {
  callOf,
  emptyRouting,
  type ForwardOptions,
  type ForwardResult,
  type FullCall,
  inputOf,
  type RoutedForwardOptions,
  type RoutedForwardResult,
  type Routing,
  resultOf,
} from './layer/forward.js';
import {
  type Activation,
  type ActivationType,
  checkParts,
  type LayerOptions,
  type LayerParts,
  nativeWeightGroup,
  partsOf,
  type WeightGroup,
  type WeightType,
} from './layer/options.js';
import { heldExperts, nativeSetting, ownViews, type ParallelOptions } from './layer/parallel.js';
import type { NativeLayer } from './native.js';
import type { Tensor } from './weights.js';

export type {
  ForwardOptions,
  ForwardResult,
  RoutedForwardOptions,
  RoutedForwardResult,
  Routing,
} from './layer/forward.js';
export type {
  Activation,
  ActivationType,
  LayerOptions,
  WeightGroup,
  WeightType,
} from './layer/options.js';
export type { ExpertPlacement } from './layer/parallel.js';

/** How `MoELayer.load` and `MoECheckpoint.load` load a layer. */
export interface LoadOptions extends ParallelOptions {
  /** Number of the MoE layer; may be left out where the checkpoint has only one. */
  layer?: number | undefined;
  /** As `LayerOptions.device`. */
  device?: DeviceName | undefined;
  /** Defaults to the type that the layer is stored in, to float32 where its experts are of several types. */
  weightType?: WeightType | undefined;
  /** As `LayerOptions.weightGroup`. */
  weightGroup?: WeightGroup | undefined;
  /** As `LayerOptions.activationType`. */
  activationType?: ActivationType | undefined;
  /** As `LayerOptions.threads`. */
  threads?: number | undefined;
  /** As `LayerOptions.maxQueue`. */
  maxQueue?: number | undefined;
  /** Fields that differ from what the checkpoint's own config says. */
  config?: Partial<MoEConfigOptions> | undefined;
  /** Counts experts as they are prepared. What it throws ends the load. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Ends the load. */
  signal?: AbortSignal | undefined;
}

const defaultMaxQueue = 1024;

/** One Mixture-of-Experts feed-forward layer, its weights resident on one device. */
export class MoELayer implements AsyncDisposable {
  /** How it routes. */
  readonly config: MoEConfig;
  /** H. */
  readonly hiddenSize: number;
  /** I, the width of each expert. */
  readonly intermediateSize: number;
  /** What an expert computes. */
  readonly activation: Activation;
  /** `cpu`, `cuda:0`, … */
  readonly device: DeviceName;
  /** How experts are held. */
  readonly weightType: WeightType;
  /** What the weights occupy on the device. */
  readonly weightBytes: number;
  /** The ranks that share the experts; undefined when all are here. */
  readonly group: ExpertGroup | undefined;
  /** Numbers of the experts whose weights, or with model parallelism whose columns, are here. */
  readonly experts: readonly number[];
  /**
   * One sentence for each field of the config that changes nothing here, and for each thing the device does otherwise
   * than one would expect.
   */
  readonly diagnostics: readonly string[];

  readonly #native: NativeLayer;
  readonly #load: Float64Array;
  /** Of calls that have ended: making one takes longer than filling it. */
  readonly #totals: Float64Array[] = [];

  private constructor(parts: LayerParts, device: DeviceName, native: NativeLayer) {
    this.group = parts.group;
    this.experts = Object.freeze([...heldExperts(parts.config, parts)]);
    const ofConfig = parts.group ? diagnose(parts.config, parts.group) : parts.config.diagnostics;
    this.diagnostics = Object.freeze([...ofConfig, ...native.notes]);
    this.#load = new Float64Array(parts.config.expertNum);
    this.config = parts.config;
    this.hiddenSize = parts.hiddenSize;
    this.intermediateSize = parts.intermediateSize;
    this.activation = parts.activation;
    this.device = device;
    this.weightType = parts.weightType;
    this.weightBytes = native.weightBytes;
    this.#native = native;
  }

  /**
   * Checks the options, opens the device and packs the weights onto it, off the JS thread. The weight arrays are
   * borrowed until the promise settles, and not after.
   *
   * @throws `ConfigError`, `ShapeError`, `DeviceError`
   */
  static async create(options: LayerOptions): Promise<MoELayer> {
    return MoELayer.fromParts(partsOf(options));
  }

  /**
   * Loads one MoE layer of a checkpoint folder or `.safetensors` file. Only that layer is read.
   *
   * @throws `CheckpointError` besides what `create` throws
   */
  static async load(path: string, options: LoadOptions = {}): Promise<MoELayer> {
    const { MoECheckpoint } = await import('./checkpoint.js');
    await using checkpoint = await MoECheckpoint.open(path);
    return await checkpoint.load(options.layer, options);
  }

  /** @internal Checkpoints come in here, with views into mapped files. */
  static async fromParts(parts: LayerParts): Promise<MoELayer> {
    checkParts(parts);
    const { signal, config, threads = 0, maxQueue = defaultMaxQueue } = parts;
    signal?.throwIfAborted();
    const device = resolveDevice(parts.device);
    const binding = addon();
    const cancellation = new binding.Cancellation();
    const { hiddenSize, intermediateSize, sharedSize, activation, weightType, views, onProgress } =
      parts;
    const weightGroup = nativeWeightGroup(weightType, parts.weightGroup, device);
    const int8Activations = parts.activationType === 'int8';
    const sizes = { hiddenSize, intermediateSize, sharedSize, activation, weightType, weightGroup };
    const { moe, parallel } = nativeSetting(config, sizes, parts);
    const spec = { moe, ...sizes, int8Activations, threads, maxQueue };
    const held = parallel && parts.group ? ownViews(views, parts.group, parallel) : views;
    const created = () =>
      binding.createLayer(
        device.backend,
        device.index,
        spec,
        held,
        onProgress,
        cancellation,
        parallel,
      );
    const native = await settled(created, signal, () => cancellation.cancel());
    return new MoELayer(parts, deviceText(device), native);
  }

  /**
   * Runs T tokens, `[T, H]`, off the JS thread. Calls on one device run in order. T may be 0. Arrays are borrowed until
   * the promise settles: do not write to them or transfer them before. A token with NaN or infinite values, and no
   * other, comes out as NaN.
   *
   * @throws `ShapeError` for arrays that do not fit, `DeviceError` with `ERR_MOE_QUEUE_FULL` when `maxQueue` calls wait,
   *   `ClosedError` after `close`, and the signal's reason when aborted
   */
  forward(
    hidden: Float32Array | Tensor,
    options: RoutedForwardOptions,
  ): Promise<RoutedForwardResult>;
  forward(hidden: Float32Array | Tensor, options?: ForwardOptions): Promise<ForwardResult>;
  async forward(
    hidden: Float32Array | Tensor,
    options: ForwardOptions = {},
  ): Promise<ForwardResult> {
    const call = this.#call(hidden, options);
    const { signal } = options;
    if (signal === undefined) {
      try {
        await this.#native.forward(call);
      } catch (error) {
        throw fromNative(error);
      }
    } else {
      const cancellation = new (addon().Cancellation)();
      call.cancellation = cancellation;
      await settled(
        () => this.#native.forward(call),
        signal,
        () => cancellation.cancel(),
      );
    }
    return this.#resultOf(call);
  }

  /**
   * As `forward`, but blocks the calling thread, behind the calls before it. For scripts and worker threads. A signal is
   * looked at before the call starts, and not after.
   *
   * @throws what `forward` rejects with
   */
  forwardSync(hidden: Float32Array | Tensor, options: RoutedForwardOptions): RoutedForwardResult;
  forwardSync(hidden: Float32Array | Tensor, options?: ForwardOptions): ForwardResult;
  forwardSync(hidden: Float32Array | Tensor, options: ForwardOptions = {}): ForwardResult {
    const call = this.#call(hidden, options);
    options.signal?.throwIfAborted();
    try {
      this.#native.forwardSync(call);
    } catch (error) {
      throw fromNative(error);
    }
    return this.#resultOf(call);
  }

  /**
   * The router's choices, capacity applied, without running any expert.
   *
   * @throws `ShapeError`, `DeviceError` and `ClosedError` as `forward` does
   */
  async route(hidden: Float32Array | Tensor): Promise<Routing> {
    const input = inputOf(hidden, this.hiddenSize);
    const call = { ...input, ...emptyRouting(input.tokens, this.config) };
    await settled(() => this.#native.forward(call));
    return { expertIds: call.expertIds, weights: call.weights };
  }

  /**
   * Tokens that each expert has served since the layer was made, `[E]`, summed over the group: what `planPlacement` takes.
   * Every rank with tokens calls it, in step with its other calls.
   *
   * @throws `GroupError`, and `ClosedError` after `close`
   */
  async totalLoad(): Promise<Float64Array> {
    const total = Float64Array.from(this.#load);
    if (this.group?.workers === false) await settled(() => this.#native.sumOverGroup(total));
    return total;
  }

  /**
   * Rejects waiting calls with `ClosedError`, lets the running one end, then frees the weights. May be called twice. A
   * layer that is dropped without `close` is freed when it is collected.
   */
  async close(): Promise<void> {
    await settled(() => this.#native.close());
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal The weights as the device holds them, and the layer's place in its group. */
  get native(): Pick<NativeLayer, 'packed' | 'readPacked' | 'numberInGroup' | 'nextCall'> {
    return this.#native;
  }

  #call(hidden: Float32Array | Tensor, options: ForwardOptions): FullCall {
    return callOf(hidden, options, this, this.#totals.pop() ?? new Float64Array(4));
  }

  #resultOf(call: FullCall): ForwardResult {
    const { expertLoad, totals } = call;
    for (let expert = 0; expert < expertLoad.length; expert++)
      this.#load[expert] = (this.#load[expert] as number) + (expertLoad[expert] as number);
    const result = resultOf(call);
    this.#totals.push(totals);
    return result;
  }
}

/** A native call's outcome, its errors as this package's classes and an abort as the signal's reason. */
async function settled<T>(
  start: () => Promise<T>,
  signal?: AbortSignal,
  cancel?: () => void,
): Promise<T> {
  signal?.throwIfAborted();
  try {
    const pending = start();
    if (cancel) signal?.addEventListener('abort', cancel, { once: true });
    return await pending;
  } catch (error) {
    if (signal?.aborted && (error as { code?: unknown }).code === 'ERR_MOE_ABORTED')
      throw signal.reason;
    throw fromNative(error);
  } finally {
    if (cancel) signal?.removeEventListener('abort', cancel);
  }
}
