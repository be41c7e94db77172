import type { LayerWeights, Tensor } from '../../layer/weights.js';
import type { Shape } from './shapes.js';

/**
 * The values that every contestant computes with; the programs in bench/peers make the same. They are integers from
 * -128 to 127 times a power of two, so each is exact in float32, bfloat16 and float16, and one reference serves all.
 * Tensors are windows into one sequence of pseudo-random integers, repeated endlessly.
 */
const period = 1_000_003;

/** The tensors' windows begin this far apart. */
const stride = 166_667;

const kinds = {
  hidden: { window: 0, scale: 2 ** -7 },
  router: { window: 1, scale: 2 ** -10 },
  gate: { window: 2, scale: 2 ** -11 },
  up: { window: 3, scale: 2 ** -11 },
  down: { window: 4, scale: 2 ** -11 },
} as const;

export type Kind = keyof typeof kinds;

const noise = Int8Array.from({ length: period }, (_, index) => {
  let x = Math.imul(index, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 15), 0x85ebca77);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae3d);
  x ^= x >>> 16;
  return (x >>> 24) - 128;
});

/** Element `index` of a tensor, counted row by row. */
export function value(kind: Kind, index: number): number {
  const { window, scale } = kinds[kind];
  return (noise[(window * stride + index) % period] ?? 0) * scale;
}

/** `tokens` rows of input, `[T, H]`. */
export function syntheticHidden(tokens: number, { hiddenSize }: Shape): Float32Array {
  const first = Float32Array.from({ length: Math.min(tokens * hiddenSize, period) }, (_, i) =>
    value('hidden', i),
  );
  return repeat(new Float32Array(tokens * hiddenSize), first);
}

/** A layer's weights: the router as float32, the experts as bfloat16, which keeps them small until they are packed. */
export function syntheticWeights({ hiddenSize, intermediateSize, expertNum }: Shape): LayerWeights {
  const router = Float32Array.from({ length: expertNum * hiddenSize }, (_, i) =>
    value('router', i),
  );
  return {
    router: { dtype: 'float32', shape: [expertNum, hiddenSize], data: router },
    gate: bfloat16Tensor('gate', [expertNum, intermediateSize, hiddenSize]),
    up: bfloat16Tensor('up', [expertNum, intermediateSize, hiddenSize]),
    down: bfloat16Tensor('down', [expertNum, hiddenSize, intermediateSize]),
  };
}

function bfloat16Tensor(kind: Kind, shape: readonly [number, number, number]): Tensor {
  const count = shape[0] * shape[1] * shape[2];
  const first = Float32Array.from({ length: Math.min(count, period) }, (_, i) => value(kind, i));
  // The upper half of a float32 is its bfloat16; nothing is lost, for the lower half is 0.
  const bits = Uint16Array.from(new Uint32Array(first.buffer), (word) => word >>> 16);
  return { dtype: 'bfloat16', shape, data: repeat(new Uint16Array(count), bits) };
}

/** Fills `target` with copies of `source`. */
function repeat<T extends Float32Array | Uint16Array>(target: T, source: T): T {
  for (let at = 0; at < target.length; at += source.length)
    target.set(source.subarray(0, Math.min(source.length, target.length - at)), at);
  return target;
}
