/// <reference lib="esnext.disposable" preserve="true" />
import { addon } from './addon.js';
import { describe, expectBoolean, expectOptions, expectSignal } from './checks.js';
import { diagnose } from './config/diagnose.js';
import type { MoEConfig, MoEConfigOptions } from './config.js';
import { type DeviceName, deviceText, resolveDevice } from './devices.js';
import { ConfigError, fromNative, ShapeError } from './errors.js';
import type { ExpertGroup } from './group.js';
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
import { expectArray, expectFixedMemory, expectTensor } from './layer/tensor_views.js';
import type { NativeCall, NativeLayer } from './native.js';
import type { Tensor } from './weights.js';

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

/** How `MoELayer.forward` runs one batch. */
export interface ForwardOptions {
  /** Written to and returned instead of a new array: `[T, H]`. May be `hidden` itself. */
  out?: Float32Array | undefined;
  /** Also returns the routing. Defaults to false. */
  routing?: boolean | undefined;
  /** Withdraws a waiting call, or stops a running one at the next block of an expert. Not for a layer of a group. */
  signal?: AbortSignal | undefined;
}

/**
 * Both arrays are `[T, K]`, strongest choice first. Where capacity dropped a choice, -1 and 0. Where a token's logits are
 * not finite, -1 and NaN in all its choices.
 */
export interface Routing {
  /** The experts of each token. */
  expertIds: Int32Array;
  /** What each expert's output is multiplied by. */
  weights: Float32Array;
}

/** `ForwardOptions` that ask for the routing, so the result has it. */
export interface RoutedForwardOptions extends ForwardOptions {
  /** Returns the routing, too. */
  routing: true;
}

/** One batch's outcome. */
export interface ForwardResult {
  /** `[T, H]`. */
  output: Float32Array;
  /** The config's balance losses, their factors applied; 0 without any. */
  auxLoss: number;
  /** The config's z-loss, its factor applied; 0 without one. */
  zLoss: number;
  /** Tokens each expert served, `[E]`. */
  expertLoad: Uint32Array;
  /** (token, choice) pairs cut by capacity; 0 when dropless. */
  droppedChoices: number;
  /** Slots per expert and group of tokens, of the first group where the last is shorter; null when dropless. */
  capacity: number | null;
  /** When asked for. */
  routing?: Routing | undefined;
}

/** A `ForwardResult` that has the routing. */
export interface RoutedForwardResult extends ForwardResult {
  /** As it was asked for. */
  routing: Routing;
}

const forwardOptionNames: readonly (keyof ForwardOptions)[] = ['out', 'routing', 'signal'];
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
    if (parallel && views.packed !== undefined)
      throw new ConfigError(
        'Expected no `group` for packed weights: they are those of a whole layer',
      );
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
      await settled(() => this.#native.forward(call));
    } else {
      const cancellation = new (addon().Cancellation)();
      const cancellable = { ...call, cancellation };
      await settled(
        () => this.#native.forward(cancellable),
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
    const input = this.#input(hidden);
    const call = { ...input, ...this.#routing(input.tokens) };
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

  #resultOf(call: FullCall): ForwardResult {
    for (const [expert, tokens] of call.expertLoad.entries())
      this.#load[expert] = (this.#load[expert] as number) + tokens;
    return resultOf(call);
  }

  #input(hidden: Float32Array | Tensor): Pick<NativeCall, 'hidden' | 'dtype' | 'tokens'> {
    const H = this.hiddenSize;
    if (hidden instanceof Float32Array) {
      expectFixedMemory('hidden', hidden);
      if (hidden.length % H !== 0)
        throw new ShapeError(
          `Expected the length of \`hidden\` to be a multiple of hiddenSize ${H}, got ${hidden.length}`,
        );
      return { hidden, dtype: 'float32', tokens: hidden.length / H };
    }
    const tokens = (hidden as Partial<Tensor> | null | undefined)?.shape?.[0];
    if (tokens === undefined)
      throw new ShapeError(
        `Expected \`hidden\` to be a Float32Array or a tensor [T, ${H}], got ${describe(hidden)}`,
      );
    const { data, dtype } = expectTensor('hidden', hidden, [tokens, H]);
    return { hidden: data, dtype, tokens };
  }

  #routing(tokens: number): Routing {
    const slots = tokens * this.config.numExpertsChosen;
    return { expertIds: new Int32Array(slots), weights: new Float32Array(slots) };
  }

  #call(hidden: Float32Array | Tensor, options: ForwardOptions): FullCall {
    expectOptions('forward', options, forwardOptionNames);
    if (options.routing !== undefined) expectBoolean('routing', options.routing);
    expectSignal(options.signal);
    if (options.signal !== undefined && this.group !== undefined)
      throw new ConfigError(
        'Expected no `signal` for a layer of a group: the other ranks would wait for the call',
      );
    const input = this.#input(hidden);
    const values = input.tokens * this.hiddenSize;
    const { out } = options;
    if (out !== undefined) {
      expectArray('out', 'float32', out);
      if (out.length !== values)
        throw new ShapeError(
          `Expected \`out\` to hold ${values} values like \`hidden\`, got ${out.length}`,
        );
    }
    return {
      ...input,
      output: out ?? new Float32Array(values),
      expertLoad: new Uint32Array(this.config.expertNum),
      totals: new Float64Array(4),
      ...(options.routing === true && this.#routing(input.tokens)),
    };
  }
}

type FullCall = NativeCall & Required<Pick<NativeCall, 'output' | 'expertLoad' | 'totals'>>;

function resultOf({ output, expertLoad, totals, expertIds, weights }: FullCall): ForwardResult {
  const [auxLoss = 0, zLoss = 0, droppedChoices = 0, capacity = -1] = totals;
  return {
    output,
    auxLoss,
    zLoss,
    expertLoad,
    droppedChoices,
    capacity: capacity < 0 ? null : capacity,
    ...(expertIds && weights && { routing: { expertIds, weights } }),
  };
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
