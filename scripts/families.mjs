// Writes the table of families into docs/checkpoints.md, from the rows that `npm run build:ts` built.
import { readFileSync, writeFileSync } from 'node:fs';
import { withFamilies } from './families_table.mjs';

const page = new URL('../docs/checkpoints.md', import.meta.url);
const families = await import('../dist/families/families.js');
const { decoderTypes } = await import('../dist/model/families/rows.js');
writeFileSync(page, withFamilies(readFileSync(page, 'utf8'), families, decoderTypes));
