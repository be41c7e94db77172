// Every family's logits at every position, against a decoder in float64.
import { describe, expect, test } from 'vitest';
import { decoderLogits } from '../reference/decoder.js';
import { writtenModel } from './fixture.js';
import { modelFixtures } from './fixtures.js';
import { logitsOf, textOf, withModel, worstError } from './running.js';

/** Longer than every window and than a block of keys. */
const tokens = textOf(70);

describe.each(modelFixtures.map((fixture) => [fixture.name, fixture] as const))(
  '%s',
  (_, fixture) => {
    test('logits are those of the reference, in one step and in several', async () => {
      const folder = await writtenModel(fixture);
      const expected = decoderLogits(fixture.decoder, tokens);
      await withModel(folder, { ...fixture.options, prefixCache: false }, async (model) => {
        const whole = await logitsOf(model, tokens);
        expect(worstError(whole, expected)).toBeLessThan(1e-5);
        const cut = await logitsOf(model, tokens, [23, 1, 1, 45]);
        expect(Buffer.from(cut.buffer).equals(Buffer.from(whole.buffer))).toBe(true);
      });
    });
  },
);
