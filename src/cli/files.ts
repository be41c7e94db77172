import { constants } from 'node:fs';
import { access, readFile, realpath, stat } from 'node:fs/promises';
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

/** Throws unless `writeSafetensors` can write to `path`, and it is none of the files that are read. */
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
    await access(await writtenTo(path), constants.W_OK);
  } catch (cause) {
    throw new Error(
      `Expected \`${option}\` to name a file that can be written, got: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** What must be writable: a file is replaced in its folder, a device is written to itself. */
async function writtenTo(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return dirname(path);
  return found.isFile() ? dirname(await realpath(path)) : path;
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
