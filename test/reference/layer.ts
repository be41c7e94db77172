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

/** What a SwiGLU may be told, as its options say it. */
interface Numbers {
  alpha: number;
  limit: number;
  after: boolean;
}

function swiglu(gate: number, up: number, { alpha, limit, after }: Numbers, shift: number): number {
  const limited = after ? gate : Math.min(gate, limit);
  const product = limited * sigmoid(alpha * limited);
  return (
    (Math.max(-limit, Math.min(up, limit)) + shift) * (after ? Math.min(product, limit) : product)
  );
}

function activate(activation: Activation, numbers: Numbers, gate: number, up: number): number {
  switch (activation) {
    case 'swiglu':
      return swiglu(gate, up, numbers, 0);
    case 'swiglu_oai':
      return swiglu(gate, up, numbers, 1);
    case 'geglu':
      return gelu(gate) * up;
    case 'geglu_tanh':
      return geluTanh(gate) * up;
    case 'gelu':
      return gelu(up);
    case 'gelu_tanh':
      return geluTanh(up);
    case 'relu':
      return Math.max(up, 0);
    case 'relu2':
      return Math.max(up, 0) ** 2;
    case 'silu':
      return up * sigmoid(up);
  }
}

/** What routed and shared experts compute: gpt-oss has alpha 1.702 and limit 7, others none. */
function activationsOf(options: LayerOptions): Record<'routed' | 'shared', [Activation, Numbers]> {
  const { activation = 'swiglu', activationAlpha, activationLimit, activationClamp } = options;
  const { sharedActivation = activation, sharedActivationLimit } = options;
  const after = activationClamp === 'after';
  const numbers = (of: Activation, alpha?: number, limit?: number | null): Numbers => ({
    alpha: alpha ?? (of === 'swiglu_oai' ? 1.702 : 1),
    limit: (limit === undefined && of === 'swiglu_oai' ? 7 : limit) ?? Infinity,
    after,
  });
  const same = sharedActivation === activation;
  const sharedLimit =
    sharedActivationLimit === undefined && same ? activationLimit : sharedActivationLimit;
  return {
    routed: [activation, numbers(activation, activationAlpha, activationLimit)],
    shared: [
      sharedActivation,
      numbers(sharedActivation, same ? activationAlpha : undefined, sharedLimit),
    ],
  };
}

/** options: those of `MoELayer.create`. hidden: `[T, H]`. */
export function layerReference(
  config: MoEConfig,
  options: LayerOptions,
  hidden: Float32Array,
): ReferenceResult {
  const { hiddenSize: H, intermediateSize: I, latentSize: L, weights } = options;
  const computed = activationsOf(options);
  const E = config.expertNum;
  const tokens = Array.from({ length: hidden.length / H }, (_, t) => [
    ...hidden.subarray(t * H, (t + 1) * H),
  ]);
  const router = Array.from({ length: E }, (_, e) => row(weights.router as Tensor, e, H));
  const bias = weights.routerBias ? row(weights.routerBias, 0, E) : new Array<number>(E).fill(0);
  const routing = routeReference(
    config,
    tokens.map((x) => router.map((w, e) => dot(x, w) + (bias[e] as number))),
  );

  const feedForward = (
    x: readonly number[],
    from: Pick<typeof weights, 'gate' | 'up' | 'down' | 'gateBias' | 'upBias' | 'downBias'>,
    expert: number,
    width: number,
    [activation, numbers]: [Activation, Numbers],
  ) => {
    const size = x.length;
    const at = (tensor: Tensor | undefined, i: number, size: number) =>
      tensor ? floatOf(tensor.dtype, tensor.data[expert * size + i] as number) : 0;
    const inner = Array.from({ length: width }, (_, i) => {
      const gate = from.gate
        ? dot(x, row(from.gate, expert * width + i, size)) + at(from.gateBias, i, width)
        : 0;
      return activate(
        activation,
        numbers,
        gate,
        dot(x, row(from.up, expert * width + i, size)) + at(from.upBias, i, width),
      );
    });
    return Array.from(
      { length: size },
      (_, h) => dot(inner, row(from.down, expert * size + h, width)) + at(from.downBias, h, size),
    );
  };

  const project = (x: readonly number[], by: Tensor, rows: number) =>
    Array.from({ length: rows }, (_, i) => dot(x, row(by, i, x.length)));
  const { shared } = weights;
  const S = shared ? (shared.up.shape[0] as number) : 0;
  const output = tokens.map((x, t) => {
    const input = L === undefined ? x : project(x, weights.latentDown as Tensor, L);
    const mixed = new Array<number>(input.length).fill(0);
    routing.expertIds[t]?.forEach((expert, choice) => {
      if (expert < 0) return;
      const weight = routing.weights[t]?.[choice] as number;
      feedForward(input, weights, expert, I, computed.routed).forEach((value, h) => {
        mixed[h] = (mixed[h] as number) + weight * value;
      });
    });
    const y = L === undefined ? mixed : project(mixed, weights.latentUp as Tensor, H);
    if (shared) {
      const scale = shared.router ? sigmoid(dot(x, row(shared.router, 0, H))) : 1;
      feedForward(x, shared, 0, S, computed.shared).forEach((value, h) => {
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
