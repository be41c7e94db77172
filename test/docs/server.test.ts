import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { withServerTables } from '../../scripts/server_tables.mjs';
import { fields } from '../../src/server/fields.js';
import { metricRows } from '../../src/server/metrics.js';

test('docs/server.md has the tables of fields and metrics, as `npm run docs:server` writes them', () => {
  const page = readFileSync('docs/server.md', 'utf8');
  expect(withServerTables(page, fields, metricRows)).toBe(page);
});
