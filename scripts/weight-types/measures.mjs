// What a type costs: the error of layers' outputs, and bits per byte of a whole model on text.
import { MoELayer, MoEModel } from '../../dist/index.js';
import { relativeError, sum } from './statistics.mjs';
import { heldOut, layers, readText, recordedInputs, trained } from './trained.mjs';

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
    const exact = MoELayer.load(trained, { layer, device: 'cpu', weightType: 'float32' });
    const truth = await outputOf(exact, inputs[layer]);
    const held = await outputOf(
      MoELayer.load(path, { layer, device: 'cpu', ...options }),
      inputs[layer],
    );
    errors.push(relativeError(held, truth));
  }
  return errors;
}

/** Bits of each piece of a text, and how many bytes were foretold in it. */
async function piecesOf(model, path) {
  const tokens = await model.tokenizer.encode(readText(path));
  const pieces = [];
  for (let begin = 0; begin + 1 < tokens.length; begin += model.contextLength) {
    const logprobs = await model.logprobs(tokens.slice(begin, begin + model.contextLength));
    pieces.push({ bits: -sum(logprobs) / Math.LN2, bytes: logprobs.length });
  }
  return pieces;
}

/** Bits of every piece of each held-out text, as `node-moe perplexity` reads them. */
export async function readHeldOut(path, options) {
  const model = await MoEModel.load(path, { device: 'cpu', ...options });
  const texts = [];
  for (const text of heldOut) texts.push(await piecesOf(model, text));
  await model.close();
  return texts;
}
