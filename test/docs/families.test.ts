import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { withFamilies } from '../../scripts/families_table.mjs';
import * as families from '../../src/families/families.js';
import { decoderTypes } from '../../src/model/families/rows.js';

test('docs/checkpoints.md has the table of all families, as `npm run docs:families` writes it', () => {
  const page = readFileSync('docs/checkpoints.md', 'utf8');
  expect(withFamilies(page, families, decoderTypes)).toBe(page);
});
