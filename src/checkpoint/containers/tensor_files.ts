import { readdir } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { CheckpointError } from '../../base/errors.js';
import { kindOf, readAt, withFile } from './disk.js';
import { SafetensorsFile } from './file.js';
import { type OpenedGguf, openGguf } from './gguf/model.js';
import { type TensorEntry, tensorIn } from './header.js';
import { readIndex } from './index_file.js';
import type { TensorFile } from './tensor_file.js';

const singleName = 'model.safetensors';
const indexNames = ['model.safetensors.index.json', 'param_name_map.json'];

/**
 * The tensors of a checkpoint, in one safetensors file, in several with an index, or in GGUF files. A safetensors file is
 * opened when one of its tensors is first asked for.
 */
export class TensorFiles {
  /** Where the files are. */
  readonly folder: string;
  /** What lists the tensors: the index or the one file. */
  readonly #list: string;
  readonly #fileOf: ReadonlyMap<string, string>;
  readonly #metadata: ReadonlyMap<string, string>;
  readonly #opened = new Map<string, Promise<TensorFile>>();
  /** Present where the files are GGUF. */
  readonly gguf: Pick<OpenedGguf, 'metadata' | 'config'> | undefined;

  private constructor(
    list: string,
    fileOf: ReadonlyMap<string, string>,
    metadata: ReadonlyMap<string, string> = new Map(),
    gguf?: OpenedGguf,
  ) {
    this.gguf = gguf;
    this.#metadata = metadata;
    this.folder = dirname(list);
    this.#list = list;
    this.#fileOf = fileOf;
  }

  /**
   * `path`: a folder with `model.safetensors`, an index or one GGUF model, a `.safetensors` file, an index file, or a
   * `.gguf` file, the first one of a model in several.
   */
  static async open(path: string): Promise<TensorFiles> {
    const absolute = resolve(path);
    const kind = await kindOf(absolute);
    if (kind === 'missing')
      throw new CheckpointError(
        `Expected ${absolute} to be a folder with a checkpoint or a .safetensors file, got nothing there`,
      );
    const list = kind === 'folder' ? await findList(absolute) : absolute;
    if (list.endsWith('.json')) return new TensorFiles(list, await readIndex(list));
    if (await isGguf(list)) return TensorFiles.#ofFiles(list, await openGguf(list));
    const file = await SafetensorsFile.open(list);
    return TensorFiles.#ofFiles(list, { files: [file] }, file.metadata);
  }

  static #ofFiles(
    list: string,
    opened: Pick<OpenedGguf, 'files'> & Partial<OpenedGguf>,
    metadata?: ReadonlyMap<string, string>,
  ): TensorFiles {
    const { files: all, config, metadata: ofGguf } = opened;
    const fileOf = new Map(
      all.flatMap(({ path, tensors }) =>
        [...tensors.keys()].map((tensor) => [tensor, basename(path)] as const),
      ),
    );
    const gguf = config && ofGguf && { files: all, config, metadata: ofGguf };
    const files = new TensorFiles(list, fileOf, metadata, gguf);
    for (const file of all)
      files.#opened.set(join(files.folder, basename(file.path)), Promise.resolve(file));
    return files;
  }

  /** Every tensor's name. */
  get names(): Iterable<string> {
    return this.#fileOf.keys();
  }

  /** What headers say of all tensors, but for those of files that are missing. */
  async entries(): Promise<TensorEntry[]> {
    const entries: TensorEntry[] = [];
    const missing = new Set<string>();
    for (const path of this.paths) if ((await kindOf(path)) === 'missing') missing.add(path);
    for (const name of this.names)
      if (!missing.has(this.#pathOf(name))) entries.push((await this.fileOf(name)).entry(name));
    return entries;
  }

  /** Text values of the file's header, where there is one file. */
  get metadata(): ReadonlyMap<string, string> {
    return this.#metadata;
  }

  /** Every file of the checkpoint that holds or lists tensors. */
  get paths(): string[] {
    const files = new Set([...this.#fileOf.values()].map((file) => join(this.folder, file)));
    return [this.#list, ...files];
  }

  /** Whether the files that should hold these tensors are there. */
  async present(names: Iterable<string>): Promise<boolean> {
    const files = new Set([...names].map((name) => this.#pathOf(name)));
    for (const file of files) if ((await kindOf(file)) === 'missing') return false;
    return true;
  }

  /** The opened file that holds a tensor. Throws `CheckpointError` when it is missing or does not hold the tensor. */
  async fileOf(name: string): Promise<TensorFile> {
    const path = this.#pathOf(name);
    const opening = this.#opened.get(path) ?? this.#open(path, name);
    this.#opened.set(path, opening);
    try {
      const file = await opening;
      file.entry(name);
      return file;
    } catch (error) {
      this.#opened.delete(path);
      throw error;
    }
  }

  async #open(path: string, name: string): Promise<TensorFile> {
    if ((await kindOf(path)) === 'missing')
      throw new CheckpointError(
        `Expected ${tensorIn(path, name)}, as ${this.#list} says, got no such file`,
      );
    return SafetensorsFile.open(path);
  }

  #pathOf(name: string): string {
    const file = this.#fileOf.get(name);
    if (file === undefined)
      throw new CheckpointError(`Expected ${tensorIn(this.#list, name)}, got none of that name`);
    return join(this.folder, file);
  }
}

/** Endings of files that hold models in other forms, and what helps. */
const notRead: Readonly<Record<string, string>> = {
  '.bin': "`save_pretrained` of Python's transformers makes safetensors of them",
  '.pth': 'take its safetensors files',
};

/** Whether a file is one by its first bytes: ollama's have no ending. */
async function isGguf(path: string): Promise<boolean> {
  if (path.endsWith('.gguf')) return true;
  return withFile(path, async (handle, { byteLength }) => {
    const start = await readAt(handle, path, 0, Math.min(4, byteLength));
    return String.fromCharCode(...start) === 'GGUF';
  });
}

/** The file of a checkpoint folder that lists its tensors. */
async function findList(folder: string): Promise<string> {
  const names = [singleName, ...indexNames];
  for (const name of names)
    if ((await kindOf(join(folder, name))) !== 'missing') return join(folder, name);
  const inside = await readdir(folder);
  const models = inside
    .filter((name) => name.endsWith('.gguf') && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/.test(name))
    .sort();
  const [model, other] = models;
  if (model !== undefined && other === undefined) return join(folder, model);
  if (model !== undefined)
    throw new CheckpointError(
      `Expected ${folder} to hold one GGUF model, got ${models.length}: give the path of one (${model}, ${other}${models.length > 2 ? ', …' : ''})`,
    );
  const others = inside.map((name) => extname(name));
  const [ending] = Object.keys(notRead).filter((each) => others.includes(each));
  const reason =
    ending === undefined ? '' : `: its ${ending} files are not read, ${notRead[ending]}`;
  throw new CheckpointError(
    `Expected ${folder} to hold ${names.join(', ')} or a .gguf file, got a folder with none of them${reason}`,
  );
}
