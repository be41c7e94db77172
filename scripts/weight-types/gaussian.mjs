// Layers of normally distributed weights and inputs.
import { MoELayer } from '../../dist/index.js';
import { outputOf } from './measures.mjs';
import { relativeError } from './statistics.mjs';

/** Normally distributed, always the same. */
function gaussian(count, deviation, seed) {
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => deviation * Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** `relu`: two plain products, so that the error of one product shows; `swiglu`: the layer as models have it. */
export const gaussianShapes = [
  { activation: 'relu', H: 1024, I: 512 },
  { activation: 'swiglu', H: 1024, I: 512 },
  { activation: 'swiglu', H: 2048, I: 1024 },
];

export const titleOf = ({ activation, H, I }) => `Gaussian, \`${activation}\`, H ${H}, I ${I}`;

const E = 4;
const config = {
  expertNum: E,
  numExpertsChosen: 2,
  routingPolicy: 'TopkRouterV2',
  capacityFactor: -1,
};

/**
 * Errors of a layer's output, with the layer in float32 as the truth.
 *
 * @param ways how it is held: options, and what becomes of the values and shape of a tensor of experts before
 */
export async function gaussianErrors({ activation, H, I }, ways) {
  const tensor = (shape, seed) => {
    const count = shape.reduce((a, b) => a * b);
    return { dtype: 'float32', shape, data: gaussian(count, 1 / Math.sqrt(shape.at(-1)), seed) };
  };
  const router = tensor([E, H], 1);
  const experts = {
    up: tensor([E, I, H], 2),
    down: tensor([E, H, I], 3),
    ...(activation === 'swiglu' && { gate: tensor([E, I, H], 4) }),
  };
  const hidden = gaussian(64 * H, 1, 5);
  const output = ({ options, round = (data) => data }) => {
    const held = Object.entries(experts).map(([name, { data, shape, ...rest }]) => [
      name,
      { ...rest, shape, data: round(data, shape) },
    ]);
    const weights = { router, ...Object.fromEntries(held) };
    const sizes = { hiddenSize: H, intermediateSize: I };
    return outputOf(
      MoELayer.create({ config, ...sizes, device: 'cpu', activation, weights, ...options }),
      hidden,
    );
  };
  const exact = await output({ options: { weightType: 'float32' } });
  const errors = [];
  for (const way of ways) errors.push(relativeError(await output(way), exact));
  return errors;
}
