// The trained model: what it was told and what was recorded of it, and copies of it whose matrices hold other values.
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { SafetensorsFile } from '../../dist/checkpoint/containers/file.js';
import { writeSafetensors } from '../../dist/checkpoint/containers/write.js';

export const trained = resolve(import.meta.dirname, '../../test/data/tiny-mixtral');
export const layers = [0, 1, 2, 3];
export const heldOut = ['bible', 'python'].map((name) => join(trained, `text/${name}.txt`));
/** Text of both kinds that it was trained on, to calibrate by. */
export const trainedText = join(trained, 'text/trained.txt');

/** What `weightType` of a whole model holds: projections of attention and experts. */
const matrix = /self_attn\.[qkvo]_proj|experts\.\d+\.w[123]/;

const folder = mkdtempSync(join(tmpdir(), 'weight-types-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
export const temporary = (name) => join(folder, name);

/** @param bits of bfloat16 numbers */
function float32Of(bits) {
  return new Float32Array(Uint32Array.from(bits, (value) => value << 16).buffer);
}

/** The matrices, each with its shape and its values in float32. */
export async function matrices() {
  const file = await SafetensorsFile.open(join(trained, 'model.safetensors'));
  const found = new Map();
  for (const name of file.tensors.keys())
    if (matrix.test(name)) {
      const { shape, data } = await file.readTensor(name);
      found.set(name, { shape, values: float32Of(data) });
    }
  return found;
}

/**
 * Writes a copy of the model.
 *
 * @param valuesOf what a matrix holds, by its name, its values and its shape
 * @returns its folder
 */
export async function copyWith(name, valuesOf) {
  const copy = mkdtempSync(temporary(`${name}-`));
  for (const kept of ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
    symlinkSync(join(trained, kept), join(copy, kept));
  const file = await SafetensorsFile.open(join(trained, 'model.safetensors'));
  const changed = await matrices();
  const tensors = {};
  for (const name of file.tensors.keys()) {
    const { shape, data } = await file.readTensor(name);
    const own = changed.get(name);
    tensors[name] = own
      ? { dtype: 'F32', shape, data: valuesOf(name, own.values, shape) }
      : { dtype: 'BF16', shape, data };
  }
  await writeSafetensors(join(copy, 'model.safetensors'), tensors);
  return copy;
}

export const readText = (path) => readFileSync(path, 'utf8');

/** What entered each layer where the recorded tokens were read. */
export async function recordedInputs(path = join(trained, 'activations.safetensors')) {
  const file = await SafetensorsFile.open(path);
  const inputs = [];
  for (const layer of layers) inputs.push((await file.readTensor(`layers.${layer}.input`)).data);
  return inputs;
}
