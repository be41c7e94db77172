// Every family of MoE layers in every spelling, against a reference that knows nothing of the package.

import { describe, expect, test } from 'vitest';
import { MoEError, MoELayer } from '../../src/index.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { relativeError } from '../reference/layer.js';
import { type Fixture, writeFixture } from './fixture.js';
import { fixtures } from './fixtures/all.js';
import { refusedModels } from './fixtures/refused.js';
import { batchOf, load, outputOf } from './loading.js';
import { blockOutput } from './reference/block.js';

async function written(fixture: Fixture): Promise<string> {
  const folder = await temporaryFolder();
  await writeFixture(folder, fixture);
  return folder;
}

describe.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_, fixture) => {
  const { blocks, without } = fixture.reference;

  test('every MoE layer computes what the family does', async () => {
    const folder = await written(fixture);
    for (const [number, block] of blocks) {
      await using layer = await load(folder, fixture, number);
      for (const count of [1, 7, 33]) {
        const batch = batchOf(100 * number + count, count);
        const output = await outputOf(layer, block, batch);
        const expected = blockOutput(block, batch.rows, batch.tokens);
        const error = relativeError(output, expected.flat());
        expect.soft(error, `layer ${number}, ${count} rows`).toBeLessThanOrEqual(1e-5);
      }
    }
  });

  test('no other layer is one', async () => {
    const folder = await written(fixture);
    const last = Math.max(...blocks.keys(), ...without);
    for (let number = 0; number <= last + 1; number++) {
      if (blocks.has(number)) continue;
      const loading = load(folder, fixture, number);
      await expect(loading, `layer ${number}`).rejects.toThrow(
        `\`layer\` to be one of the MoE layers ${[...blocks.keys()].join(', ')}`,
      );
    }
  });
});

test.each(refusedModels)('$name, is an error', async ({ config, tensors, says }) => {
  const folder = await temporaryFolder();
  await writeFixture(folder, { config, tensors });
  const failure = await MoELayer.load(folder, { layer: 0 }).catch((error) => error);
  expect(failure).toBeInstanceOf(MoEError);
  expect(failure.message).toContain(says);
});
