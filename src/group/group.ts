/// <reference lib="esnext.disposable" preserve="true" />

import { expectInside, inside } from '../base/checks.js';
import { ClosedError, ConfigError, fromNative } from '../base/errors.js';
import { addon } from '../binding/addon.js';
import type { NativeLinkCost as LinkCost, NativeGroup, NativeLayer } from '../binding/native.js';
import { meetInFolder } from './meet_file.js';
import { meetOverTcp } from './meet_tcp.js';
import type { Meeting } from './meeting.js';
import { type GroupOptions, type ResolvedGroupOptions, resolveGroupOptions } from './options.js';
import { type Hello, thisProcess } from './roster.js';

export type { NativeLinkCost as LinkCost } from '../binding/native.js';
export type { GroupOptions, Transport } from './options.js';

const nothing = new Float32Array(0);

/** `ExpertGroup.follow` runs layers of this kind: an `MoELayer` is one. */
export interface GroupLayer {
  /** The ranks of this group share its experts. */
  readonly group: ExpertGroup | undefined;
  /** Runs its share of a call of rank 0. */
  forward(hidden: Float32Array): Promise<unknown>;
  /** @internal */
  readonly native: Pick<NativeLayer, 'numberInGroup' | 'nextCall'>;
}

/**
 * A group is made of processes, on one or several machines, that share the experts of layers. Every rank joins with the
 * same `size`, then makes the same layers and runs the same calls in the same order; batches may differ in size, and may
 * be empty.
 *
 * ```ts
 * const group = await ExpertGroup.join({ rank, size: 4, store: 'tcp://10.0.0.1:29500' });
 * const layer = await MoELayer.load('checkpoints/mixtral-8x7b', { layer: 0, group });
 * const { output } = await layer.forward(hidden); // this rank's tokens
 * await layer.close();
 * await group.close();
 * ```
 *
 * When a call fails with `GroupError`, the group is of no use any more on any rank: close its layers and it, and join a
 * new one. Connections are neither encrypted nor authenticated: use them inside a trusted network.
 */
export class ExpertGroup implements AsyncDisposable {
  /** This process is the rank with this number, counted from 0. */
  readonly rank: number;
  /** The group has this many ranks. */
  readonly size: number;
  /** This many ranks share each expert's columns. */
  readonly modelParallel: number;
  /** The experts are split over this many sets of ranks: `size / modelParallel`. */
  readonly expertParallel: number;
  /** Only rank 0 has tokens, the others follow it. */
  readonly workers: boolean;
  /** A peer is waited for this many milliseconds. */
  readonly timeoutMs: number;
  /** This library carries bytes between the ranks. */
  readonly transport: 'gloo';

  readonly #native: NativeGroup;
  #closed = false;

  private constructor(key: symbol, options: ResolvedGroupOptions, native: NativeGroup) {
    expectInside(key, 'a group', 'ExpertGroup.join');
    this.rank = options.rank;
    this.size = options.size;
    this.modelParallel = options.modelParallel;
    this.expertParallel = options.size / options.modelParallel;
    this.workers = options.workers;
    this.timeoutMs = options.timeoutMs;
    this.transport = options.transport;
    this.#native = native;
  }

  /**
   * Meets the other ranks. All must come within `timeoutMs`.
   *
   * @throws `ConfigError` for options that fit no group or not that of rank 0, `GroupError` when ranks do not come in time
   *   (`ERR_MOE_TIMEOUT`) or are lost while they join (`ERR_MOE_PEER_LOST`), `DeviceError` without gloo
   */
  static async join(options: GroupOptions): Promise<ExpertGroup> {
    const resolved = resolveGroupOptions(options);
    const { store, timeoutMs, transport, rank, size, modelParallel, workers } = resolved;
    const own: { native?: NativeGroup; hello?: Hello } = {};
    const makeHello = (address: string): Hello => {
      const binding = addon();
      const shape = { rank, size, modelParallel };
      own.native = new binding.Group({ ...shape, led: workers, timeoutMs, transport, address });
      const contact = Buffer.from(own.native.contact).toString('base64');
      return { build: binding.buildId, ...shape, workers, contact, process: thisProcess() };
    };
    const meeting: Meeting = {
      options: resolved,
      deadline: performance.now() + timeoutMs,
      helloAt: (address) => (own.hello ??= makeHello(address)),
    };
    try {
      const hellos = await (store.kind === 'tcp'
        ? meetOverTcp(meeting, store)
        : meetInFolder(meeting, store.folder));
      const native = own.native as NativeGroup;
      await native.connect(hellos.map(({ contact }) => Buffer.from(contact, 'base64')));
      return new ExpertGroup(inside, resolved, native);
    } catch (error) {
      await own.native?.close();
      throw fromNative(error);
    }
  }

  /** @internal */
  get native(): NativeGroup {
    if (this.#closed) throw new ClosedError('The group is closed');
    return this.#native;
  }

  /**
   * Times exchanges between the ranks: an all-to-all of `bytes`, which a rank sends to all others together, takes about
   * `secondsPerExchange + bytes / bytesPerSecond`. Every rank calls it, before its layers are made, and
   * gets the same numbers.
   *
   * @throws `GroupError` when a rank is lost, `ConfigError` while layers are open
   */
  async measure(): Promise<LinkCost> {
    try {
      return await this.native.measure();
    } catch (error) {
      throw fromNative(error);
    }
  }

  /**
   * Makes rank 0's calls here, too, with no tokens but this rank's experts, until rank 0 closes the group; waiting for the
   * next call takes as long as it takes. It is for the ranks above 0 of a group with `workers`.
   *
   * @param layers the group's layers, all of them, made in the order in which rank 0 made its own
   * @throws `GroupError` when a rank is lost, `ConfigError` where this rank cannot follow
   */
  async follow(layers: readonly GroupLayer[]): Promise<void> {
    if (!this.workers || this.rank === 0)
      throw new ConfigError(
        'Expected a rank above 0 of a group with `workers`: only those follow rank 0',
      );
    const own = Array.isArray(layers) && layers.every((layer) => layer?.group === this);
    const [first] = own ? layers : [];
    if (first === undefined)
      throw new ConfigError('Expected `layers` to be the layers of this group, at least one');
    const byNumber = new Map(layers.map((layer) => [layer.native.numberInGroup, layer]));
    try {
      for (;;) {
        const number = await first.native.nextCall();
        if (number < 0) return;
        const layer = byNumber.get(number);
        if (layer === undefined)
          throw new ConfigError(
            `Expected \`layers\` to hold the group's layer ${number}, which rank 0 runs`,
          );
        await layer.forward(nothing);
      }
    } catch (error) {
      throw fromNative(error);
    }
  }

  /**
   * Leaves the group, when every rank does or `timeoutMs` later. Its layers must be closed before. A second call is no
   * error.
   *
   * @throws `ConfigError` while layers are open
   */
  async close(): Promise<void> {
    try {
      await this.#native.close();
      this.#closed = true;
    } catch (error) {
      throw fromNative(error);
    }
  }

  /** `await using` closes the group by this. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
