// A model in GGUF files: one, or several that it was split into.
import { basename, dirname, join } from 'node:path';
import { describe } from '../../../base/checks.js';
import { CheckpointError } from '../../../base/errors.js';
import { kindOf } from '../disk.js';
import { type TensorEntry, tensorIn } from '../header.js';
import { quote } from '../json_reader.js';
import { expectSameFile, type TensorFile } from '../tensor_file.js';
import { ggufModel } from './config.js';
import { GgufFile } from './file.js';
import { namedTensors } from './names.js';
import type { GgufValue } from './reader.js';

/** One file's tensors, by the names that checkpoints of the family have. */
class GgufTensors implements TensorFile {
  readonly path: string;
  readonly identity: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;

  constructor(file: GgufFile, entries: readonly TensorEntry[]) {
    this.path = file.path;
    this.identity = file.identity;
    this.tensors = new Map(entries.map((entry) => [entry.name, entry]));
  }

  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry === undefined)
      throw new CheckpointError(`Expected ${tensorIn(this.path, name)}, got none of that name`);
    return entry;
  }

  expectSame(identity: string): void {
    expectSameFile(this, identity);
  }
}

/** What a GGUF model is, and where its tensors are. */
export interface OpenedGguf {
  readonly files: readonly TensorFile[];
  /** Of the first file. */
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** The config.json that its model would have. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** @throws `CheckpointError` for a file that is damaged, missing, or of a model that is not read */
export async function openGguf(path: string): Promise<OpenedGguf> {
  const files = await openParts(path);
  const [first] = files as [GgufFile];
  const all = files.flatMap(({ tensors }) => tensors);
  const names = new Set(all.map(({ name }) => name));
  const embedding = all.find(({ name }) => name === 'token_embd.weight');
  const model = ggufModel(path, first.metadata, names, embedding?.shape[0]);
  const named = files.map((file) => ({ file, entries: namedTensors(file, model) }));
  expectOnce(path, named);
  return {
    files: named.map(({ file, entries }) => new GgufTensors(file, entries)),
    metadata: first.metadata,
    config: model.config,
  };
}

/** Tensors of several names may be the same one of a family's. */
function expectOnce(path: string, named: readonly { entries: readonly TensorEntry[] }[]): void {
  const seen = new Set<string>();
  for (const { name } of named.flatMap(({ entries }) => entries)) {
    if (seen.has(name))
      throw new CheckpointError(
        `Expected each tensor once in the files of ${path}, got several for ${quote(name)}`,
      );
    seen.add(name);
  }
}

/** Of a model in several files. */
const partName = /^(.*)-\d{5}-of-(\d{5})\.gguf$/;

/** What a file says of parts counts, not what it is called: llama.cpp takes one that says nothing for a whole model. */
async function openParts(path: string): Promise<GgufFile[]> {
  const given = await GgufFile.open(path);
  const parts = given.metadata.get('split.count') ?? 1;
  if (parts === 0 || parts === 1) return [given];
  const [, stem, count] = partName.exec(basename(path)) ?? [];
  if (stem === undefined || Number(count) !== parts)
    throw new CheckpointError(
      `Expected ${path}, which is one of ${describe(parts)} parts, to be called NAME-00001-of-NNNNN.gguf, as llama.cpp calls it, beside the others`,
    );
  const files: GgufFile[] = [];
  for (let part = 0; part < Number(count); part++) {
    const name = `${stem}-${String(part + 1).padStart(5, '0')}-of-${count}.gguf`;
    const at = join(dirname(path), name);
    if ((await kindOf(at)) === 'missing')
      throw new CheckpointError(
        `Expected ${at} beside ${path}: it is a part of the same model, got no such file`,
      );
    const file = await GgufFile.open(at);
    expectValue(file, 'split.no', part);
    expectValue(file, 'split.count', Number(count));
    files.push(file);
  }
  const total = files.reduce((sum, { tensors }) => sum + tensors.length, 0);
  if (files[0] !== undefined) expectValue(files[0], 'split.tensors.count', total);
  return files;
}

function expectValue({ path, metadata }: GgufFile, key: string, value: number): void {
  if (metadata.get(key) !== value)
    throw new CheckpointError(
      `Expected ${quote(key)} of ${path} to be ${value}, got ${describe(metadata.get(key))}`,
    );
}
