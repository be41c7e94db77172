/// <reference lib="esnext.disposable" preserve="true" />
import { expectInside, inside } from '../base/checks.js';
import { ClosedError, fromNative } from '../base/errors.js';
import { expectOptions } from '../base/rows.js';
import { addon } from '../binding/addon.js';
import { type DeviceName, deviceAt, deviceText, resolveDevice } from '../binding/devices.js';
import type { NativeLayer } from '../binding/native.js';
import { settled } from '../binding/settled.js';
import type { MoEConfig } from '../config/config.js';
import { diagnose } from '../config/diagnose.js';
import type { ExpertGroup } from '../group/group.js';
import { choicesOf } from './choices.js';
import type { Activation } from './experts.js';
import { factsOf } from './facts.js';
import {
  callOf,
  emptyRouting,
  type ForwardOptions,
  type ForwardResult,
  type FullCall,
  inputOf,
  type RoutedForwardOptions,
  type RoutedForwardResult,
  type RouteOptions,
  type Routing,
  resultOf,
  routeRows,
} from './forward.js';
import { type LayerOptions, type LoadOptions, loadRows, type WeightType } from './options.js';
import { heldExperts, nativeSetting, ownViews } from './parallel.js';
import { checkParts, dependsOnDevice, type LayerParts, nativeSpec, partsOf } from './parts.js';
import { keepProfile, printProfile, profiling } from './profile.js';
import type { Tensor } from './weights.js';

/** One Mixture-of-Experts feed-forward layer, its weights resident on one device. */
export class MoELayer implements AsyncDisposable {
  /** How it routes. */
  readonly config: MoEConfig;
  /** H. */
  readonly hiddenSize: number;
  /** I, the width of each expert. */
  readonly intermediateSize: number;
  /** What a routed expert computes. */
  readonly activation: Activation;
  /** L, the width of the rows of routed experts; undefined where they are as wide as tokens. */
  readonly latentSize: number | undefined;
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
   * One sentence for each field of the config that changes nothing here, for what of a checkpoint has no effect, and for
   * each thing the device does otherwise than one would expect.
   */
  readonly diagnostics: readonly string[];

  /** @internal `[V, K]`: the experts of each token id, where a table says them. */
  readonly expertTable: Int32Array | undefined;

  readonly #native: NativeLayer;
  readonly #load: Float64Array;
  /** Of calls that have ended: making one takes longer than filling it. */
  readonly #totals: Float64Array[] = [];
  #closed = false;

  private constructor(key: symbol, parts: LayerParts, device: DeviceName, native: NativeLayer) {
    expectInside(key, 'a layer', 'MoELayer.create', 'MoELayer.load');
    this.group = parts.group;
    this.experts = Object.freeze([...heldExperts(parts.config, parts)]);
    const ofConfig = parts.group ? diagnose(parts.config, parts.group) : parts.config.diagnostics;
    this.diagnostics = Object.freeze([...ofConfig, ...(parts.notes ?? []), ...native.notes]);
    this.#load = new Float64Array(parts.config.expertNum);
    this.config = parts.config;
    this.hiddenSize = parts.hiddenSize;
    this.intermediateSize = parts.intermediateSize;
    this.activation = parts.activation;
    this.latentSize = parts.latentSize;
    this.device = device;
    this.weightType = parts.weightType;
    this.weightBytes = native.weightBytes;
    this.expertTable = parts.views.expertTable;
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
    expectOptions('load', options, loadRows);
    const { MoECheckpoint } = await import('../checkpoint/checkpoint.js');
    const { stack } = options;
    await using checkpoint = await MoECheckpoint.open(path, { stack });
    return await checkpoint.load(undefined, options);
  }

  /** @internal Checkpoints come in here, with views into mapped files. */
  static async fromParts(parts: LayerParts): Promise<MoELayer> {
    const { config, group, onProgress, signal } = parts;
    const { expertTable, ...views } = parts.views;
    const device = resolveDevice(parts.device);
    const weights = dependsOnDevice(parts) ? deviceAt(device)?.weights : undefined;
    checkParts(parts, device, weights);
    signal?.throwIfAborted();
    const { moe, parallel: spread } = nativeSetting(config, parts);
    const spec = nativeSpec(moe, parts, weights);
    const parallel = spread && { ...spread, facts: factsOf(config, spec, spread.expertsOfSet) };
    const held = parallel && group ? ownViews(views, group, parallel) : views;
    const binding = addon();
    const cancellation = new binding.Cancellation();
    const created = () =>
      binding.createLayer(
        device.backend,
        device.index,
        spec,
        held,
        onProgress,
        cancellation,
        parallel,
        profiling(),
      );
    const native = await settled(created, signal, () => cancellation.cancel());
    const layer = new MoELayer(inside, parts, deviceText(device), native);
    if (profiling()) {
      const { config: moe, hiddenSize: h, intermediateSize: i, weightType } = layer;
      const sizes = `H ${h}, I ${i}, E ${moe.expertNum}, K ${moe.numExpertsChosen}`;
      keepProfile(native, `a layer on ${layer.device} (${sizes}, ${weightType})`);
    }
    return layer;
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
   * As `forward`, but blocks the calling thread, behind the calls before it: scripts and worker threads can afford it.
   * A signal is looked at before the call starts, and not after.
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
   * The router's choices, or those given, capacity applied, without running any expert.
   *
   * @throws `ShapeError`, `ConfigError`, `DeviceError` and `ClosedError` as `forward` does
   */
  async route(hidden: Float32Array | Tensor, options: RouteOptions = {}): Promise<Routing> {
    expectOptions('route', options, routeRows);
    const input = inputOf(hidden, this.hiddenSize);
    const experts = choicesOf(options, input.tokens, this);
    const call = { ...input, experts, ...emptyRouting(input.tokens, this.config) };
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
    if (this.#closed) throw new ClosedError('The layer is closed');
    const total = Float64Array.from(this.#load);
    if (this.group?.workers === false) await settled(() => this.#native.sumOverGroup(total));
    return total;
  }

  /**
   * Rejects waiting calls with `ClosedError`, lets the running one end, then frees the weights. May be called twice. A
   * layer that is dropped without `close` is freed when it is collected.
   */
  async close(): Promise<void> {
    this.#closed = true;
    await settled(() => this.#native.close());
    printProfile(this.#native);
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal The weights as the device holds them, the layer's place in its group, and calls as they are. */
  get native(): Pick<
    NativeLayer,
    'packed' | 'readPacked' | 'numberInGroup' | 'nextCall' | 'forward'
  > {
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
