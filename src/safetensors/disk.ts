import { type BigIntStats, statSync } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { CheckpointError } from '../errors.js';

/** Most bytes one read call is asked for: the kernel's own limit is just below 2^31. */
const readBytes = 2 ** 30;

/** Which file stands at a path, and in which state: another file or other contents make another identity. */
export interface FileState {
  byteLength: number;
  identity: string;
}

/** Opens a file for `use` and closes it afterwards. Every failure of the file system becomes a `CheckpointError`. */
export async function withFile<T>(
  path: string,
  use: (handle: FileHandle, state: FileState) => Promise<T>,
): Promise<T> {
  const handle = await openFile(path);
  try {
    const stats = await handle.stat({ bigint: true });
    return await use(handle, { byteLength: Number(stats.size), identity: identityOf(stats) });
  } catch (error) {
    throw asCheckpointError(path, error);
  } finally {
    await handle.close();
  }
}

/** As `FileState.identity`, of the file that stands at a path now. */
export function identityAt(path: string): string {
  try {
    return identityOf(statSync(path, { bigint: true }));
  } catch (error) {
    throw asCheckpointError(path, error);
  }
}

/** To be compared with one of the same process only: runtimes round times and number devices each in their own way. */
function identityOf({ dev, ino, mtimeNs, size }: BigIntStats): string {
  return `${dev}:${ino}:${mtimeNs}:${size}`;
}

/** Bytes [offset, offset + length) of an open file. */
export async function readAt(
  handle: FileHandle,
  path: string,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const wanted = Math.min(length - done, readBytes);
    const { bytesRead } = await handle.read(bytes, done, wanted, offset + done);
    if (bytesRead === 0)
      throw new CheckpointError(
        `Expected ${path} to have ${offset + length} bytes, got ${offset + done}: it was cut`,
      );
    done += bytesRead;
  }
  return bytes;
}

/** A text file of at most `maxBytes`. */
export function readText(path: string, maxBytes: number): Promise<string> {
  return withFile(path, async (handle, { byteLength }) => {
    if (byteLength > maxBytes)
      throw new CheckpointError(
        `Expected ${path} to have at most ${maxBytes} bytes, got ${byteLength}`,
      );
    return new TextDecoder().decode(await readAt(handle, path, 0, byteLength));
  });
}

export type PathKind = 'file' | 'folder' | 'missing';

/** What stands at a path. Throws `CheckpointError` when that cannot be found out. */
export async function kindOf(path: string): Promise<PathKind> {
  try {
    const found = await stat(path);
    return found.isDirectory() ? 'folder' : 'file';
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'missing';
    throw asCheckpointError(path, error);
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    // Asked before opening: opening a named pipe would wait for a writer.
    const found = await stat(path);
    if (!found.isFile())
      throw new CheckpointError(
        `Expected ${path} to be a file, got ${found.isDirectory() ? 'a folder' : 'a device'}`,
      );
    return await open(path);
  } catch (error) {
    throw asCheckpointError(path, error);
  }
}

function asCheckpointError(path: string, error: unknown): CheckpointError {
  if (error instanceof CheckpointError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new CheckpointError(`Expected ${path} to be a readable file, got: ${reason}`, {
    cause: error,
  });
}
