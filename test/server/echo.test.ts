import { expect, test } from 'vitest';
import type { ScoreOptions } from '../../src/model/types.js';
import { echoesOf } from '../../src/server/echo.js';
import type { Wanted } from '../../src/server/wanted.js';
import { StoryModel } from './story_model.js';

/** Scores until it is stopped. */
class ScoringModel extends StoryModel {
  override logprobs(
    _: ArrayLike<number>,
    { signal }: ScoreOptions = {},
  ): Promise<Float32Array<ArrayBuffer>> {
    return new Promise((_, reject) => {
      if (signal?.aborted) reject(signal.reason);
      signal?.addEventListener('abort', () => reject(signal.reason));
    });
  }
}

test('the scoring of a prompt ends with its request', async () => {
  const stop = new AbortController();
  const wanted = { prompts: ['once upon'], echo: true, n: 1, options: { logprobs: 0 } };
  const echoes = echoesOf(new ScoringModel(), wanted as unknown as Wanted, stop.signal);
  stop.abort(new Error('gone'));
  await expect(echoes).rejects.toThrow('gone');
});
