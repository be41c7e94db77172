// The few sums that routers and experts are made of, in float64.

export type Vector = readonly number[];
/** `[out][in]`. */
export type Matrix = readonly Vector[];

export function dot(a: Vector, b: Vector): number {
  if (a.length !== b.length) throw new Error(`${a.length} values times ${b.length}`);
  let total = 0;
  for (let i = 0; i < a.length; i++) total += (a[i] as number) * (b[i] as number);
  return total;
}

export const product = (matrix: Matrix, x: Vector): number[] => matrix.map((row) => dot(row, x));

export const sum = (values: Vector): number => values.reduce((total, value) => total + value, 0);

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

export const clamp = (x: number, low: number, high: number): number =>
  Math.min(Math.max(x, low), high);

export function softmax(logits: Vector): number[] {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

/** Indices of the `count` greatest values, the greatest first; the lower index of two that are equal. */
export function best(values: Vector, count: number): number[] {
  const order = values.map((_, index) => index);
  order.sort((a, b) => (values[b] as number) - (values[a] as number) || a - b);
  return order.slice(0, count);
}

/** Root mean square norm without a weight. */
export function rmsNorm(x: Vector, epsilon: number): number[] {
  const root = Math.sqrt(dot(x, x) / x.length + epsilon);
  return x.map((value) => value / root);
}
