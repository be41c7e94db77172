import { expect, test } from 'vitest';
import { PieceQueue } from '../../src/model/piece_queue.js';

test('what a slow reader has not read becomes one piece, for the price of its parts', async () => {
  const pieces = new PieceQueue();
  const add = (count: number) => {
    const begin = performance.now();
    for (let token = 0; token < count; token++)
      pieces.add({
        ...{ text: 'a', reasoning: 'b', toolCalls: [], tokens: [token] },
        ...(token === count - 1 && { finishReason: 'length' as const }),
      });
    return performance.now() - begin;
  };
  // Copies of what is there already would take a minute.
  expect(add(100_000)).toBeLessThan(10_000);
  pieces.end(undefined);
  const read = [];
  for await (const piece of pieces) read.push(piece);
  expect(read).toHaveLength(1);
  expect(read[0]).toMatchObject({ finishReason: 'length', text: 'a'.repeat(100_000) });
  expect(read[0]?.tokens).toEqual(Array.from({ length: 100_000 }, (_, token) => token));
});
