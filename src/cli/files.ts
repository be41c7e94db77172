import { constants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The text of the file that an option names. */
export async function namedFile(option: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new Error(
      `Expected \`${option}\` to name a readable file, got: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** Throws unless `path` can be written to, and is none of the files that are read. */
export async function expectWritable(
  option: string,
  path: string,
  read: Iterable<string>,
): Promise<void> {
  const written = await identity(path);
  for (const other of read)
    if (written !== undefined && written === (await identity(other)))
      throw new Error(`Expected \`${option}\` to name another file than ${other}, which is read`);
  try {
    await access(written === undefined ? dirname(path) : path, constants.W_OK);
  } catch (cause) {
    throw new Error(
      `Expected \`${option}\` to name a file that can be written, got: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** Which file stands at a path, by whatever name; undefined where there is none. */
async function identity(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
