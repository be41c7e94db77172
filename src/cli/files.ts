import { readFile } from 'node:fs/promises';

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
