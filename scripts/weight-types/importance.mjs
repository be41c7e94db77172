// How much the inputs of experts' matrices count, as `pack --calibrate` has it: the mean of their squares over the tokens that
// choose the expert, and sixteen tokens more that are like all.
import { MoELayer } from '../../dist/index.js';
import { layers, trained } from './trained.mjs';

const addedTokens = 16;

const silu = (x) => x / (1 + Math.exp(-x));

/** A matrix times a row. */
export function product({ shape: [outs, ins], values }, row) {
  return Float32Array.from({ length: outs }, (_, o) => {
    let sum = 0;
    for (let i = 0; i < ins; i++) sum += values[o * ins + i] * row[i];
    return sum;
  });
}

/** The mean of the squares of rows and of `addedTokens` others, whose squares are `others`. */
export function meanSquares(rows, others) {
  const sums = others.map((square) => addedTokens * square);
  for (const row of rows) for (let i = 0; i < row.length; i++) sums[i] += row[i] ** 2;
  return Float32Array.from(sums, (sum) => sum / (rows.length + addedTokens));
}

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** By the name of a matrix; nothing of attention's. */
export async function importanceOf(matrices, inputs) {
  const found = new Map();
  for (const layer of layers) {
    const hidden = inputs[layer];
    const moe = await MoELayer.load(trained, { layer, weightType: 'float32' });
    const { routing } = await moe.forward(hidden, { routing: true });
    const { hiddenSize, config } = moe;
    await moe.close();
    const rows = Array.from({ length: hidden.length / hiddenSize }, (_, t) =>
      hidden.subarray(t * hiddenSize, (t + 1) * hiddenSize),
    );
    const all = rows.length === 0 ? [] : squares(rows);
    const chosen = rows.length === 0 ? 0 : routing.expertIds.length / rows.length;
    for (let expert = 0; expert < config.expertNum; expert++) {
      const name = (matrix) =>
        `model.layers.${layer}.block_sparse_moe.experts.${expert}.${matrix}.weight`;
      const [gate, up] = ['w1', 'w3'].map((matrix) => matrices.get(name(matrix)));
      const own = rows.filter((_, t) =>
        routing.expertIds.subarray(t * chosen, (t + 1) * chosen).includes(expert),
      );
      const between = own.map((row) => {
        const factors = product(up, row);
        return product(gate, row).map((value, i) => silu(value) * factors[i]);
      });
      const ofInputs = meanSquares(own, all);
      found.set(name('w1'), ofInputs);
      found.set(name('w3'), ofInputs);
      const even = between.length === 0 ? 1 : meanOf(squares(between));
      found.set(name('w2'), meanSquares(between, Array(gate.shape[0]).fill(even)));
    }
  }
  return found;
}

/** The mean of the squares of each column. */
function squares(rows) {
  const sums = Array(rows[0].length).fill(0);
  for (const row of rows)
    row.forEach((value, i) => {
      sums[i] += value ** 2 / rows.length;
    });
  return sums;
}
