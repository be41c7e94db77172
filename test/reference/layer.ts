// A whole MoE layer in float64, as plainly as it can be written.
import type { Activation, LayerOptions, MoEConfig, Tensor } from '../../src/index.js';
import { floatOf } from '../support/floats.js';
import { type ReferenceRouting, routeReference } from './routing.js';

export interface ReferenceResult extends ReferenceRouting {
  /** `[T][H]`. */
  output: number[][];
}

/** Row `index` of a tensor seen as rows of `width` values. */
function row(tensor: Tensor, index: number, width: number): number[] {
  return Array.from({ length: width }, (_, i) =>
    floatOf(tensor.dtype, tensor.data[index * width + i] as number),
  );
}

const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((total, value, i) => total + value * (b[i] as number), 0);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const geluTanh = (x: number) =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const gelu = (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2));

/** By its series, or its continued fraction where the series cancels. */
function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 3) {
    let term = a;
    let total = a;
    for (let n = 1; n < 100; n++) {
      term *= -(a * a) / n;
      total += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * total) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n >= 1; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

function activate(activation: Activation, gate: number, up: number): number {
  switch (activation) {
    case 'swiglu':
      return gate * sigmoid(gate) * up;
    case 'swiglu_oai': {
      const limited = Math.min(gate, 7);
      return (Math.max(-7, Math.min(up, 7)) + 1) * limited * sigmoid(1.702 * limited);
    }
    case 'geglu':
      return gelu(gate) * up;
    case 'gelu':
      return gelu(up);
    case 'gelu_tanh':
      return geluTanh(up);
    case 'relu':
      return Math.max(up, 0);
    case 'silu':
      return up * sigmoid(up);
  }
}

/** options: those of `MoELayer.create`. hidden: `[T, H]`. given: `[T, K]`, choices from outside. */
export function layerReference(
  config: MoEConfig,
  options: LayerOptions,
  hidden: Float32Array,
  given?: Int32Array,
): ReferenceResult {
  const { hiddenSize: H, intermediateSize: I, weights, activation = 'swiglu' } = options;
  const E = config.expertNum;
  const tokens = Array.from({ length: hidden.length / H }, (_, t) => [
    ...hidden.subarray(t * H, (t + 1) * H),
  ]);
  const R = E + config.zeroExpertNum;
  const K = config.numExpertsChosen;
  const router = Array.from({ length: R }, (_, e) => row(weights.router as Tensor, e, H));
  const bias = weights.routerBias ? row(weights.routerBias, 0, R) : new Array<number>(R).fill(0);
  const routing = routeReference(
    config,
    tokens.map((x) => router.map((w, e) => dot(x, w) + (bias[e] as number))),
    {
      ...(weights.expertScale && { expertScale: row(weights.expertScale, 0, E) }),
      ...(given && { given: tokens.map((_, t) => [...given.subarray(t * K, (t + 1) * K)]) }),
    },
  );

  const feedForward = (
    x: readonly number[],
    from: Pick<typeof weights, 'gate' | 'up' | 'down' | 'gateBias' | 'upBias' | 'downBias'>,
    expert: number,
    width: number,
  ) => {
    const at = (tensor: Tensor | undefined, i: number, size: number) =>
      tensor ? floatOf(tensor.dtype, tensor.data[expert * size + i] as number) : 0;
    const inner = Array.from({ length: width }, (_, i) => {
      const gate = from.gate
        ? dot(x, row(from.gate, expert * width + i, H)) + at(from.gateBias, i, width)
        : 0;
      return activate(
        activation,
        gate,
        dot(x, row(from.up, expert * width + i, H)) + at(from.upBias, i, width),
      );
    });
    return Array.from(
      { length: H },
      (_, h) => dot(inner, row(from.down, expert * H + h, width)) + at(from.downBias, h, H),
    );
  };

  const { shared } = weights;
  const S = shared ? (shared.up.shape[0] as number) : 0;
  const output = tokens.map((x, t) => {
    const y = new Array<number>(H).fill(0);
    routing.expertIds[t]?.forEach((expert, choice) => {
      if (expert < 0) return;
      const weight = routing.weights[t]?.[choice] as number;
      const [before, after] = config.weightOnInput ? [weight, 1] : [1, weight];
      const input = x.map((value) => before * value);
      const result = expert < E ? feedForward(input, weights, expert, I) : input;
      result.forEach((value, h) => {
        y[h] = (y[h] as number) + after * value;
      });
    });
    if (shared) {
      const gate = shared.router ? sigmoid(dot(x, row(shared.router, 0, H))) : 1;
      const scale = gate * config.sharedExpertScale;
      feedForward(x, shared, 0, S).forEach((value, h) => {
        y[h] = (y[h] as number) + scale * value;
      });
    }
    return y;
  });
  return { ...routing, output };
}

/** The norm of the difference over the norm of what was expected. */
export function relativeError(actual: ArrayLike<number>, expected: readonly number[]): number {
  let difference = 0;
  let norm = 0;
  expected.forEach((value, i) => {
    difference += ((actual[i] as number) - value) ** 2;
    norm += value ** 2;
  });
  return Math.sqrt(difference) / (Math.sqrt(norm) || 1);
}
