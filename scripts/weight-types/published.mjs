// Types of weights that files are published in: what becomes of values in them.
import { spawnSync } from 'node:child_process';
import { ggmlProgram } from '../../bench/compare/install.mjs';
import { float8Bits, float8Value } from '../../bench/gguf/floats.mjs';
import { ggufTypes } from '../../bench/gguf/types.mjs';

/** Side of the blocks of float8 weights that share a scale. */
const side = 128;
const mostFloat8 = 448;

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** Float8 (E4M3) with a float32 scale for each block of 128 x 128, that makes its largest weight 448. */
export function roundedFloat8(values, shape) {
  const width = shape.at(-1);
  const held = new Float32Array(values.length);
  for (let top = 0; top < values.length; top += side * width)
    for (let left = 0; left < width; left += side) {
      const places = [];
      for (let row = top; row < Math.min(top + side * width, values.length); row += width)
        for (let i = left; i < Math.min(left + side, width); i++) places.push(row + i);
      const scale = Math.fround(largest(places.map((i) => values[i])) / mostFloat8);
      for (const i of places)
        held[i] =
          scale &&
          Math.sign(values[i]) * scale * float8Value(float8Bits(Math.abs(values[i]) / scale));
    }
  return held;
}

/** How a matrix stands in blocks: where its rows are shorter than a block, rows that follow one another share one. */
export function inBlocks(shape, block) {
  const width = shape.at(-1);
  const shared = width % block === 0 ? 1 : block / width;
  const rows = shape.slice(0, -1).reduce((all, size) => all * size, 1) / shared;
  if (!Number.isInteger(shared) || !Number.isInteger(rows))
    throw new Error(`Expected ${shape} to fill blocks of ${block}`);
  return { rows, width: width * shared, shared };
}

const bytesOf = (values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** As ggml quantises, which is what files are made with. */
function roundedByGgml(program, { id, block }, values, shape, importance) {
  const { rows, width, shared } = inBlocks(shape, block);
  const before = importance ? Array(shared).fill(bytesOf(importance)) : [];
  const { status, stdout, stderr } = spawnSync(
    program.command,
    [...program.arguments, id, rows, width, ...(importance ? ['weighted'] : [])].map(String),
    {
      env: { ...process.env, ...program.environment },
      input: Buffer.concat([...before, bytesOf(values)]),
      maxBuffer: 2 ** 30,
    },
  );
  if (status !== 0) throw new Error(`Expected ggml to quantise, got: ${stderr}`);
  return new Float32Array(Uint8Array.from(stdout).buffer);
}

/** A float32 factor of the whole matrix, as files of NVFP4 have it: the largest scale of a group becomes 224; ggml's end at 240. */
function withFactor(round, values, ...others) {
  const factor = Math.fround(largest(values) / (6 * 224));
  return round(
    values.map((value) => value / factor),
    ...others,
  ).map((value) => value * factor);
}

const ofGguf = [
  ...['Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'],
  ...['IQ4_NL', 'IQ4_XS', 'MXFP4', 'NVFP4'],
];

/** Those that are the same whatever counts. */
const unweighted = ['Q8_0', 'NVFP4', 'MXFP4', 'float8'];

/** The types, most bits first: `round(values, shape, importance)` says what is held of values. */
export const publishedTypes = [
  { name: 'float8', title: 'float8 (E4M3)', bits: 8 + 32 / side ** 2, round: () => roundedFloat8 },
  ...ofGguf.map((name) => ({
    ...{ name, title: `\`${name}\``, bits: (8 * ggufTypes[name].bytes) / ggufTypes[name].block },
    round: (program) => {
      const round = roundedByGgml.bind(undefined, program, ggufTypes[name]);
      return name === 'NVFP4' ? withFactor.bind(undefined, round) : round;
    },
  })),
]
  .map((type) => ({ ...type, weighted: !unweighted.includes(type.name) }))
  .sort((a, b) => b.bits - a.bits);

export const ggml = () => ggmlProgram('ggml_round');
