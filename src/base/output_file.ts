/// <reference lib="esnext.disposable" preserve="true" />
import type { Stats } from 'node:fs';
import {
  access,
  constants,
  type FileHandle,
  open,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';

/** What must be known of an output before anything is written to it. */
export interface OutputOptions {
  /** Files that are read meanwhile: none of them may be the output. */
  read?: Iterable<string>;
  /** Whether it is written out of order, which pipes and devices cannot be. */
  outOfOrder?: boolean;
}

/**
 * The one way to write a file that the user names. It grows beside the file that the path leads to, through symbolic links,
 * and takes its place once it is whole: a run that fails or is cut short leaves what stood there. Pipes and character devices
 * are written to as they are.
 *
 * Every failure is an error that names the option, the path and the system's reason.
 */
export class OutputFile implements AsyncDisposable {
  readonly #option: string;
  readonly #path: string;
  /** Absent where the path leads to a pipe or a device. */
  #part: { path: string; target: string; handle: FileHandle } | undefined;

  private constructor(option: string, path: string) {
    this.#option = option;
    this.#path = path;
  }

  /** @param option what the user named the path by */
  static async open(
    option: string,
    path: string,
    { read = [], outOfOrder = false }: OutputOptions = {},
  ): Promise<OutputFile> {
    const file = new OutputFile(option, path);
    await file.#attempt(async () => {
      if (path === '') throw new Error(`Expected \`${option}\` to name a file, got an empty path`);
      const found = await statusOf(path);
      for (const other of read) {
        const status = found && (await statusOf(other));
        if (status && status.dev === found.dev && status.ino === found.ino)
          throw new Error(
            `Expected \`${option}\` to name another file than ${other}, which is read`,
          );
      }
      if (found !== undefined) await access(path, constants.W_OK);
      if (found !== undefined && !found.isFile()) return file.#expectStream(found, outOfOrder);
      const target = await targetOf(path);
      const part = `${target}.${process.pid}.part`;
      const handle = await open(part, 'wx');
      file.#part = { path: part, target, handle };
      if (found !== undefined) await handle.chmod(found.mode & 0o7777);
    });
    return file;
  }

  /** Writes all of it, and puts it in its place. */
  async write(contents: string | readonly Uint8Array[]): Promise<void> {
    await this.#attempt(() => writeFile(this.#part?.handle ?? this.#path, contents));
    await this.finish();
  }

  /** Writes some of it, for files that were opened to be written out of order. */
  async writeAt(bytes: Uint8Array, position: number): Promise<void> {
    await this.#attempt(async () => {
      for (let done = 0; done < bytes.byteLength; ) {
        const { handle } = this.#part as { handle: FileHandle };
        const { bytesWritten } = await handle.write(bytes, done, undefined, position + done);
        done += bytesWritten;
      }
    });
  }

  /** Puts what was written in its place. */
  async finish(): Promise<void> {
    if (this.#part === undefined) return;
    const { path, target, handle } = this.#part;
    await this.#attempt(async () => {
      await handle.close();
      await rename(path, target);
    });
    this.#part = undefined;
  }

  /** Removes what was written, unless it is in its place. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#part === undefined) return;
    await this.#part.handle.close().catch(() => undefined); // what could not be written says why already
    await rm(this.#part.path, { force: true });
  }

  #expectStream(found: Stats, outOfOrder: boolean): void {
    const streams = found.isFIFO() || found.isCharacterDevice();
    if (streams && !outOfOrder) return;
    const expected = outOfOrder ? 'a regular file' : 'a regular file, a pipe or a character device';
    throw new Error(
      `Expected \`${this.#option}\` to name ${expected}, got ${this.#path}, which is ${kindOf(found)}`,
    );
  }

  /** Does something with the file, and names it where the system refuses. */
  async #attempt<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (cause) {
      if (!(cause instanceof Error && 'syscall' in cause)) throw cause;
      throw new Error(
        `Expected \`${this.#option}\` to name a file that can be written, got ${this.#path}: ${cause.message}`,
        { cause },
      );
    }
  }
}

/** Undefined where a path leads to nothing. */
async function statusOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The path at the end of all symbolic links, which need not exist. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const folder = await realpath(dirname(path));
    const link = await readlink(path).catch(() => undefined);
    return link === undefined ? resolve(folder, basename(path)) : targetOf(resolve(folder, link));
  }
}

function kindOf(found: Stats): string {
  if (found.isDirectory()) return 'a folder';
  if (found.isFIFO()) return 'a pipe';
  if (found.isSocket()) return 'a socket';
  return 'a device';
}
