import type { LayerOptions, LayerWeights, MoEConfigOptions, Tensor } from '../../src/index.js';

/** A small generator of repeatable numbers (mulberry32), uniform in [0, 1). */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` values uniform in (-scale, scale). */
export function randomValues(count: number, seed: number, scale = 1): Float32Array {
  const next = generator(seed);
  return Float32Array.from({ length: count }, () => (2 * next() - 1) * scale);
}

export function float32Tensor(data: Float32Array, shape: number[]): Tensor {
  return { dtype: 'float32', shape, data };
}

export interface SmallSizes {
  E?: number;
  K?: number;
  H?: number;
  I?: number;
  config?: MoEConfigOptions;
  seed?: number;
}

/** Options of a dropless SwiGLU layer with random float32 weights. */
export function smallLayer({
  E = 8,
  K = 2,
  H = 32,
  I = 24,
  config = {},
  seed = 1,
}: SmallSizes = {}): LayerOptions {
  const tensor = (index: number, ...shape: number[]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return float32Tensor(
      randomValues(count, seed * 100 + index, 1 / Math.sqrt(shape.at(-1) ?? 1)),
      shape,
    );
  };
  const weights: LayerWeights = {
    router: tensor(1, E, H),
    gate: tensor(2, E, I, H),
    up: tensor(3, E, I, H),
    down: tensor(4, E, H, I),
  };
  const routing = { routingPolicy: 'TopkRouterV2', capacityFactor: -1 } as const;
  return {
    config: { expertNum: E, numExpertsChosen: K, ...routing, ...config },
    hiddenSize: H,
    intermediateSize: I,
    weights,
  };
}
