import { readFileSync } from 'node:fs';

/** What package.json says, which stands two folders above this file in `src` and in `dist`. */
export const { version: packageVersion, description: packageDescription } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string; description: string };
