// What experts compute between their projections, and one expert, in float64.
import { clamp, dot, type Matrix, sigmoid, type Vector } from './numbers.js';

export interface Expert {
  /** `[I][in]`; absent where the activation has no gate. */
  gate?: Matrix;
  /** `[I][in]`. */
  up: Matrix;
  /** `[out][I]`. */
  down: Matrix;
  gateBias?: Vector;
  upBias?: Vector;
  downBias?: Vector;
}

/** Of one inner value, its gate and its up. */
export type Activation = (gate: number, up: number) => number;

export const silu = (x: number): number => x * sigmoid(x);

const geluTanh = (x: number): number =>
  (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

export const swiglu: Activation = (gate, up) => silu(gate) * up;
export const gatedGeluTanh: Activation = (gate, up) => geluTanh(gate) * up;
export const relu: Activation = (_, up) => Math.max(up, 0);
export const reluSquared: Activation = (_, up) => Math.max(up, 0) ** 2;

/** gpt-oss': limits, a factor in the sigmoid, 1 added to up. */
export const openSwiglu =
  (alpha: number, limit: number): Activation =>
  (gate, up) => {
    const limited = Math.min(gate, limit);
    return (clamp(up, -limit, limit) + 1) * limited * sigmoid(alpha * limited);
  };

/** The gate is limited before silu. */
export const clampedBefore =
  (limit: number): Activation =>
  (gate, up) =>
    silu(Math.min(gate, limit)) * clamp(up, -limit, limit);

/** The gate is limited after silu. */
export const clampedAfter =
  (limit: number): Activation =>
  (gate, up) =>
    Math.min(silu(gate), limit) * clamp(up, -limit, limit);

/** One expert's output of a row. */
export function expertOutput(expert: Expert, activation: Activation, row: Vector): number[] {
  const { gate, up, down, gateBias, upBias, downBias } = expert;
  const inner = up.map((_, i) => {
    const g = gate ? dot(gate[i] as Vector, row) + (gateBias?.[i] ?? 0) : 0;
    const u = dot(up[i] as Vector, row) + (upBias?.[i] ?? 0);
    return activation(g, u);
  });
  return down.map((weights, h) => dot(weights, inner) + (downBias?.[h] ?? 0));
}
