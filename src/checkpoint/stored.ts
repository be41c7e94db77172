import type { TensorEntry } from './containers/header.js';
import type { TensorFiles } from './containers/tensor_files.js';
import type { StoredTensor } from './families/layer_tensors.js';

/** Tensors by their names inside a layer. Opens the files they are in. */
export async function storedTensors(
  files: TensorFiles,
  { prefix, names }: { prefix: string; names: readonly string[] },
): Promise<Map<string, StoredTensor>> {
  const stored = new Map<string, StoredTensor>();
  for (const name of names) {
    const file = await files.fileOf(prefix + name);
    stored.set(name, { file, entry: file.entry(prefix + name) });
  }
  return stored;
}

export const entriesOf = (stored: ReadonlyMap<string, StoredTensor>): TensorEntry[] =>
  [...stored.values()].map(({ entry }) => entry);

/** The types of tensors, each once. */
export const typesIn = (entries: readonly TensorEntry[]): string[] =>
  [...new Set(entries.map(({ dtype }) => dtype))].sort();
