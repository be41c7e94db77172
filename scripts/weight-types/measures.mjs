// What a type costs: the error of layers' outputs, and bits per byte of a whole model on text.
import { MoELayer, MoEModel } from '../../dist/index.js';
import { heldOut, layers, readText, recordedInputs, trained } from './trained.mjs';

/** |a - b| / |b|, as vectors. */
export function relativeError(a, b) {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** The output of a layer that is made for this. */
export async function outputOf(making, hidden) {
  const layer = await making;
  const { output } = await layer.forward(hidden);
  await layer.close();
  return output;
}

/** Errors of the layers of a copy of the trained model for what is recorded, with the model in float32 as the truth. */
export async function layerErrors(path, options) {
  const inputs = await recordedInputs();
  const errors = [];
  for (const layer of layers) {
    const exact = MoELayer.load(trained, { layer, weightType: 'float32' });
    const truth = await outputOf(exact, inputs[layer]);
    const held = await outputOf(MoELayer.load(path, { layer, ...options }), inputs[layer]);
    errors.push(relativeError(held, truth));
  }
  return errors;
}

/** Bits of each piece of a text, and how many bytes were foretold in it. */
async function piecesOf(model, path) {
  const tokens = await model.tokenizer.encode(readText(path));
  const pieces = [];
  for (let begin = 0; begin + 1 < tokens.length; begin += model.contextLength)
    pieces.push(tokens.slice(begin, begin + model.contextLength));
  return Promise.all(
    pieces.map(async (piece) => {
      const logprobs = await model.logprobs(piece);
      return {
        bits: logprobs.reduce((sum, value) => sum - value, 0) / Math.LN2,
        bytes: logprobs.length,
      };
    }),
  );
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Bits of every piece of each held-out text, as `node-moe perplexity` reads them. */
export async function readHeldOut(path, options) {
  const model = await MoEModel.load(path, { device: 'cpu', ...options });
  const texts = [];
  for (const text of heldOut) texts.push(await piecesOf(model, text));
  await model.close();
  return texts;
}

export const bitsPerByte = (pieces) =>
  sum(pieces.map(({ bits }) => bits)) / sum(pieces.map(({ bytes }) => bytes));

/**
 * How many bits per byte more than `before` all texts take, and the standard error of that: pieces are a sample of what there
 * could be, and both have the same ones.
 */
export function costOf(texts, before) {
  const [pieces, others] = [texts.flat(), before.flat()];
  const more = pieces.map(({ bits, bytes }, i) => (bits - others[i].bits) / bytes);
  const mean = sum(more) / more.length;
  const variance = sum(more.map((value) => (value - mean) ** 2)) / (more.length - 1);
  return { mean, error: Math.sqrt(variance / more.length) };
}
