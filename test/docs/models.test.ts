import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { withMemory } from '../../scripts/model_tables.mjs';
import { knownModels } from '../../src/cli/bench/known_models.js';
import { foretell } from '../../src/model/foretell.js';

test('docs/models.md has the table of memory, as `npm run docs:models` writes it', async () => {
  const page = readFileSync('docs/models.md', 'utf8');
  expect(await withMemory(page, knownModels, foretell)).toBe(page);
});
