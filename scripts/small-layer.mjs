// Options of a small layer with random weights, for programs that make many of them. `sizes`: E, K, H and I.
export function smallLayer([E, K, H, I]) {
  const tensor = (...shape) => ({
    dtype: 'float32',
    shape,
    data: randomValues(shape.reduce((product, size) => product * size, 1)),
  });
  return {
    config: {
      expertNum: E,
      numExpertsChosen: K,
      routingPolicy: 'TopkRouterV2',
      capacityFactor: -1,
    },
    hiddenSize: H,
    intermediateSize: I,
    maxQueue: 100_000,
    weights: {
      router: tensor(E, H),
      gate: tensor(E, I, H),
      up: tensor(E, I, H),
      down: tensor(E, H, I),
    },
  };
}

export const randomValues = (count) =>
  Float32Array.from({ length: count }, () => Math.random() - 0.5);
