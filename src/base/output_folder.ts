/// <reference lib="esnext.disposable" preserve="true" />
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';

/**
 * The one way to write a folder that the user names. It grows beside its place and is put there once it is whole: a run that
 * fails or is cut short leaves nothing.
 */
export class OutputFolder implements AsyncDisposable {
  readonly #option: string;
  readonly #path: string;
  readonly #part: string;
  #finished = false;

  private constructor(option: string, path: string) {
    this.#option = option;
    this.#path = resolve(path);
    this.#part = `${this.#path}.${process.pid}.part`;
  }

  /**
   * @param option what the user named the path by
   * @throws `Error` for a path that is taken, or where nothing can be written
   */
  static async open(option: string, path: string): Promise<OutputFolder> {
    if (path === '') throw new Error(`Expected \`${option}\` to name a folder, got an empty path`);
    const folder = new OutputFolder(option, path);
    await folder.#attempt(async () => {
      const inside = await readdir(folder.#path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      if (inside !== undefined && inside.length > 0)
        throw new Error(
          `Expected \`${option}\` to name a new folder or an empty one, got ${path}, which has ${inside[0]} in it`,
        );
      await mkdir(folder.#part);
    });
    return folder;
  }

  /** Where a file of this name is to be written. */
  pathOf(name: string): string {
    return join(this.#part, name);
  }

  /** Puts the folder in its place. */
  async finish(): Promise<void> {
    await this.#attempt(async () => {
      await rmdir(this.#path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
      await rename(this.#part, this.#path);
    });
    this.#finished = true;
  }

  /** Removes what was written, unless it is in its place. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#finished) await rm(this.#part, { recursive: true, force: true });
  }

  async #attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (cause) {
      if (!(cause instanceof Error && 'syscall' in cause)) throw cause;
      throw new Error(
        `Expected \`${this.#option}\` to name a folder that can be written, got ${this.#path}: ${cause.message}`,
        { cause },
      );
    }
  }
}
