// @ts-check
// The experts of a layer, in the spellings that families have.
import { columns, matrixRows, ofEach, stacked, turned } from './rows.mjs';

/**
 * @typedef {import('./rows.mjs').Rows} Rows
 * @typedef {(name: string) => Rows | undefined} Read a tensor of a layer by its name inside it
 * @typedef {{ gate: Rows, up: Rows, down: Rows, gateBias?: Rows, upBias?: Rows, downBias?: Rows }} Experts
 */

/**
 * A tensor for each matrix of each expert.
 *
 * @param {Read} read
 * @param {string} prefix
 * @param {readonly [gate: string, up: string, down: string]} names
 * @returns {Experts | undefined}
 */
function oneByOne(read, prefix, names) {
  const [gate, up, down] = names.map((name) => {
    const all = [];
    for (let e = 0; ; e++) {
      const rows = read(`${prefix}${e}.${name}.weight`);
      if (rows === undefined) return all.length > 0 ? stacked(all) : undefined;
      all.push(rows);
    }
  });
  return gate && up && down && { gate, up, down };
}

/** All in two tensors, gate before up. @param {Read} read @returns {Experts | undefined} */
function fused(read) {
  const gateUp = read('block_sparse_moe.input_linear.weight');
  const down = read('block_sparse_moe.output_linear.weight');
  if (gateUp === undefined || down === undefined) return undefined;
  const width = matrixRows(gateUp) / 2;
  return {
    gate: ofEach(gateUp, width, (i) => i),
    up: ofEach(gateUp, width, (i) => i + width),
    down,
  };
}

/** gpt-oss': all in two tensors, gate and up of a value side by side; turned, or in blocks. @param {Read} read @returns {Experts | undefined} */
function interleaved(read) {
  const [gateUp, down] = ['gate_up_proj', 'down_proj'].map((name) => {
    const rows = read(`mlp.experts.${name}`);
    const blocks = read(`mlp.experts.${name}_blocks`);
    const scales = read(`mlp.experts.${name}_scales`);
    return blocks && scales ? mxfp4(blocks, scales) : rows && turned(rows);
  });
  const gateUpBias = read('mlp.experts.gate_up_proj_bias');
  const downBias = read('mlp.experts.down_proj_bias');
  if (!gateUp || !down || !gateUpBias || !downBias) return undefined;
  const width = matrixRows(gateUp) / 2;
  const even = (/** @type {number} */ i) => 2 * i;
  const odd = (/** @type {number} */ i) => 2 * i + 1;
  return {
    ...{ gate: ofEach(gateUp, width, even), gateBias: columns(gateUpBias, width, even) },
    ...{ up: ofEach(gateUp, width, odd), upBias: columns(gateUpBias, width, odd) },
    ...{ down, downBias },
  };
}

/**
 * Blocks of 32 values and their scales. Values that a checkpoint has side by side in a byte are sixteen apart in GGUF's.
 *
 * @param {Rows} codes
 * @param {Rows} scales
 * @returns {Rows}
 */
function mxfp4(codes, scales) {
  const [experts = 0, rows = 0, blocks = 0] = codes.shape;
  return {
    ...{ type: 'MXFP4', shape: [experts, rows, 32 * blocks] },
    row(index) {
      const bytes = new Uint8Array(17 * blocks);
      scales.row(index).forEach((scale, b) => {
        const own = codes.row(index * blocks + b);
        const code = (/** @type {number} */ i) => ((own[i >> 1] ?? 0) >> (4 * (i % 2))) & 15;
        bytes[17 * b] = scale;
        for (let i = 0; i < 16; i++) bytes[17 * b + 1 + i] = code(i) | (code(i + 16) << 4);
      });
      return bytes;
    },
  };
}

/** @param {Read} read @returns {Record<string, Rows | undefined>} those that the layer has, by llama.cpp's names */
export function expertTensors(read) {
  const experts =
    oneByOne(read, 'mlp.experts.', ['gate_proj', 'up_proj', 'down_proj']) ??
    oneByOne(read, 'block_sparse_moe.experts.', ['w1', 'w3', 'w2']) ??
    fused(read) ??
    interleaved(read);
  return {
    'ffn_gate_exps.weight': experts?.gate,
    'ffn_up_exps.weight': experts?.up,
    'ffn_down_exps.weight': experts?.down,
    'ffn_gate_exps.bias': experts?.gateBias,
    'ffn_up_exps.bias': experts?.upBias,
    'ffn_down_exps.bias': experts?.downBias,
  };
}
