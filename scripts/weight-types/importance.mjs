// How much the inputs of experts' matrices count, as `pack --calibrate` has it: the mean of their squares over the tokens that
// choose the expert, and sixteen tokens more that are like all.
import { MoELayer } from '../../dist/index.js';
import { layers, trained } from './trained.mjs';

const addedTokens = 16;

const silu = (x) => x / (1 + Math.exp(-x));

/** A matrix times a row. */
function product({ shape: [outs, ins], values }, row) {
  const result = new Float32Array(outs);
  for (let o = 0; o < outs; o++) {
    let sum = 0;
    for (let i = 0; i < ins; i++) sum += values[o * ins + i] * row[i];
    result[o] = sum;
  }
  return result;
}

/** The mean of the squares of rows and of `addedTokens` others, whose squares are `others`. */
function meanSquares(rows, others) {
  const sums = others.map((square) => addedTokens * square);
  for (const row of rows) for (let i = 0; i < row.length; i++) sums[i] += row[i] ** 2;
  return Float32Array.from(sums, (sum) => sum / (rows.length + addedTokens));
}

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The mean of the squares of each column; ones where there are no rows. */
function squares(rows, width) {
  const sums = Array(width).fill(rows.length === 0 ? 1 : 0);
  for (const row of rows)
    row.forEach((value, i) => {
      sums[i] += value ** 2 / rows.length;
    });
  return sums;
}

/** By the name of a matrix; nothing of attention's. */
export async function importanceOf(matrices, inputs) {
  const found = new Map();
  for (const layer of layers) {
    const moe = await MoELayer.load(trained, { layer, device: 'cpu', weightType: 'float32' });
    const { hiddenSize, config } = moe;
    const { routing } = await moe.forward(inputs[layer], { routing: true });
    await moe.close();
    const { expertNum, numExpertsChosen } = config;
    const rows = Array.from({ length: inputs[layer].length / hiddenSize }, (_, t) =>
      inputs[layer].subarray(t * hiddenSize, (t + 1) * hiddenSize),
    );
    const all = squares(rows, hiddenSize);
    for (let expert = 0; expert < expertNum; expert++) {
      const named = (name) =>
        `model.layers.${layer}.block_sparse_moe.experts.${expert}.${name}.weight`;
      const [gate, up] = ['w1', 'w3'].map((name) => matrices.get(named(name)));
      const own = rows.filter((_, t) =>
        routing.expertIds
          .subarray(t * numExpertsChosen, (t + 1) * numExpertsChosen)
          .includes(expert),
      );
      const between = own.map((row) => {
        const factors = product(up, row);
        return product(gate, row).map((value, i) => silu(value) * factors[i]);
      });
      const width = gate.shape[0];
      const even = meanOf(squares(between, width));
      const ofInputs = meanSquares(own, all);
      found.set(named('w1'), ofInputs).set(named('w3'), ofInputs);
      found.set(named('w2'), meanSquares(between, Array(width).fill(even)));
    }
  }
  return found;
}
