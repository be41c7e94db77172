import { isFloat32Array } from 'node:util/types';
import { describe } from '../base/checks.js';
import { ConfigError, ShapeError } from '../base/errors.js';
import { abortSignal, boolean, expectOptions, other, type Rows } from '../base/rows.js';
import type { NativeCall } from '../binding/native.js';
import type { MoEConfig } from '../config/config.js';
import type { ExpertGroup } from '../group/group.js';
import { choicesOf, expectInt32Array } from './choices.js';
import { expectArray, expectFixedMemory, expectTensor } from './tensor_views.js';
import type { Tensor } from './weights.js';

/** How `MoELayer.route` routes one batch. */
export interface RouteOptions {
  /**
   * `[T, K]`: the choices of each token, from outside. The router only weighs them, by their scores: no correction bias and
   * no groups. Copied at once. With `TopkRouterV2`, but for `sparsemixer`, always-chosen experts and balance losses.
   */
  experts?: Int32Array | undefined;
  /** `[T]`: rows of the layer's `expertTable`, which says the choices. Required where it has one, unless `experts` are given. */
  tokenIds?: Int32Array | undefined;
}

/** How `MoELayer.forward` runs one batch. */
export interface ForwardOptions extends RouteOptions {
  /** Written to and returned instead of a new array: `[T, H]`. May be `hidden` itself. */
  out?: Float32Array | undefined;
  /** Also returns the routing. Defaults to false. */
  routing?: boolean | undefined;
  /** Withdraws a waiting call, or stops a running one at the next block of an expert. Not for a layer of a group. */
  signal?: AbortSignal | undefined;
}

/**
 * Both arrays are `[T, K]`, strongest choice first. Where capacity dropped a choice, -1 and 0; in `TopkRouterV1` also where
 * a choice was kept but its weight is 0, as it adds nothing. Where a token's logits are not finite, -1 and NaN in all its
 * choices.
 */
export interface Routing {
  /** The experts of each token; from `expertNum` on, those of `zeroExpertNum`. */
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
  /** Tokens each expert served, `[E]`; without those of `zeroExpertNum`, which are no work. */
  expertLoad: Uint32Array;
  /** (token, choice) pairs cut by capacity, not those of weight 0; 0 when dropless. */
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

export const routeRows: Rows<RouteOptions> = {
  experts: { kind: other(expectInt32Array) },
  tokenIds: { kind: other(expectInt32Array) },
};

export const forwardRows: Rows<ForwardOptions> = {
  ...routeRows,
  out: { kind: other((name, value) => expectArray(name, 'float32', value)) },
  routing: { kind: boolean },
  signal: { kind: abortSignal },
};

/** A call with everything that its result is made of. */
export type FullCall = NativeCall & Required<Pick<NativeCall, 'output' | 'expertLoad' | 'totals'>>;

/**
 * A batch and its options as native code takes them.
 *
 * @param totals where numbers of the batch go: of 4 values
 * @throws `ShapeError`, `ConfigError`
 */
export function callOf(
  hidden: Float32Array | Tensor,
  options: ForwardOptions,
  layer: {
    hiddenSize: number;
    config: MoEConfig;
    group: ExpertGroup | undefined;
    expertTable: Int32Array | undefined;
  },
  totals: Float64Array,
): FullCall {
  expectOptions('forward', options, forwardRows);
  const { out, routing, signal } = options;
  if (signal !== undefined && layer.group !== undefined)
    throw new ConfigError(
      'Expected no `signal` for a layer of a group: the other ranks would wait for the call',
    );
  const input = inputOf(hidden, layer.hiddenSize);
  const { tokens } = input;
  const values = tokens * layer.hiddenSize;
  if (out !== undefined && out.length !== values)
    throw new ShapeError(
      `Expected \`out\` to hold ${values} values like \`hidden\`, got ${out.length}`,
    );
  const experts = choicesOf(options, tokens, layer);
  const routed = routing === true ? emptyRouting(tokens, layer.config) : undefined;
  // Every call has the same fields in the same order: a small call spends more time on its objects than on its experts.
  return {
    hidden: input.hidden,
    dtype: input.dtype,
    tokens,
    experts,
    output: out ?? new Float32Array(values),
    expertLoad: new Uint32Array(layer.config.expertNum),
    totals,
    expertIds: routed?.expertIds,
    weights: routed?.weights,
    cancellation: undefined,
  };
}

/** @throws `ShapeError` for what is no batch of tokens of this size */
export function inputOf(
  hidden: Float32Array | Tensor,
  hiddenSize: number,
): Pick<NativeCall, 'hidden' | 'dtype' | 'tokens'> {
  if (isFloat32Array(hidden)) {
    expectFixedMemory('hidden', hidden);
    if (hidden.length % hiddenSize !== 0)
      throw new ShapeError(
        `Expected the length of \`hidden\` to be a multiple of hiddenSize ${hiddenSize}, got ${hidden.length}`,
      );
    return { hidden, dtype: 'float32', tokens: hidden.length / hiddenSize };
  }
  const tokens: unknown = (hidden as Partial<Tensor> | null | undefined)?.shape?.[0];
  if (!Number.isSafeInteger(tokens) || (tokens as number) < 0)
    throw new ShapeError(
      `Expected \`hidden\` to be a Float32Array or a tensor [T, ${hiddenSize}], got ${describe(hidden)}`,
    );
  const { data, dtype } = expectTensor('hidden', hidden, [tokens as number, hiddenSize]);
  return { hidden: data, dtype, tokens: tokens as number };
}

/** Where the routing of so many tokens goes. */
export function emptyRouting(tokens: number, { numExpertsChosen }: MoEConfig): Routing {
  const slots = tokens * numExpertsChosen;
  return { expertIds: new Int32Array(slots), weights: new Float32Array(slots) };
}

/** What a call wrote, for the user. */
export function resultOf(call: FullCall): ForwardResult {
  const { output, expertLoad, totals, expertIds, weights } = call;
  const [auxLoss = 0, zLoss = 0, droppedChoices = 0, capacity = -1] = totals;
  const result: ForwardResult = {
    output,
    auxLoss,
    zLoss,
    expertLoad,
    droppedChoices,
    capacity: capacity < 0 ? null : capacity,
  };
  if (expertIds && weights) result.routing = { expertIds, weights };
  return result;
}
