import { CheckpointError } from '../errors.js';
import { readText } from './disk.js';
import { JsonReader, quote } from './json_reader.js';

/** Longest index read. One of 100,000 tensors needs an eighth of it. */
const maxIndexBytes = 100_000_000;

/**
 * Reads which file of a checkpoint holds which tensor: `weight_map` of Hugging Face's `model.safetensors.index.json`, or
 * MindFormers' `param_name_map.json`, which is that table alone. Files are named by bare names, so that a checkpoint
 * cannot reach outside its folder.
 *
 * @returns the file name of each tensor
 */
export async function readIndex(path: string): Promise<ReadonlyMap<string, string>> {
  const fail = (expected: string, got: string) =>
    new CheckpointError(`Expected ${path} to have ${expected}, got ${got}`);
  const reader = new JsonReader(await readText(path, maxIndexBytes), fail);
  const table = new Map<string, string>();
  const keys: string[] = [];
  let weightMap: Map<string, string> | undefined;
  reader.object((key) => {
    keys.push(key);
    if (key === 'weight_map') {
      const map = new Map<string, string>();
      reader.object((tensor) => void map.set(tensor, reader.string()));
      weightMap = map;
    } else if (reader.peek() === '"') table.set(key, reader.string());
    else reader.skip();
  });
  reader.end();
  const isTable = [...table.values()].some((file) => file.endsWith('.safetensors'));
  if (weightMap === undefined && !isTable) throw noIndex(path, keys);
  const fileOf = weightMap ?? table;
  if (fileOf.size === 0) throw fail('a weight_map that names the file of each tensor', 'none');
  for (const [tensor, file] of fileOf)
    if (!isBareName(file))
      throw fail(`the name of a file beside it for tensor ${quote(tensor)}`, quote(file));
  return fileOf;
}

/** Most likely another file than was meant: this is where every path that ends in `.json` comes to. */
function noIndex(path: string, keys: readonly string[]): CheckpointError {
  const shown = keys.slice(0, 3).map(quote).join(', ') + (keys.length > 3 ? ', …' : '');
  return new CheckpointError(
    `Expected ${path} to be a checkpoint: its folder, a .safetensors file, or an index that names the file of each tensor ` +
      `(model.safetensors.index.json, param_name_map.json), got JSON with ${shown || 'nothing in it'}`,
  );
}

function isBareName(file: string): boolean {
  return /^[^/\\:\0]+$/.test(file) && file !== '.' && file !== '..';
}
