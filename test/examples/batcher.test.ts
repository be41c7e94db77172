import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Batcher, BusyError, ClosingError } from '../../examples/serving/batcher.mjs';
import type { MoELayer } from '../../src/index.js';

/** A layer of width 1 that doubles its tokens when it is told to; each call is a batch. */
function slowLayer() {
  const batches: { tokens: number[]; finish: () => void; aborted: () => boolean }[] = [];
  const layer = {
    hiddenSize: 1,
    forward: (hidden: Float32Array, { signal }: { signal: AbortSignal }) =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        batches.push({
          tokens: Array.from(hidden),
          finish: () =>
            resolve({ output: hidden.map((value) => 2 * value), expertLoad: new Uint32Array() }),
          aborted: () => signal.aborted,
        });
      }),
  };
  return { layer: layer as unknown as MoELayer, batches };
}

const limits = { maxBatchTokens: 4, maxWaitingTokens: 6 };
const never = new AbortController().signal;
const ask = (batcher: Batcher, values: number[], signal = never) =>
  batcher.forward(Float32Array.from(values), signal).then(
    (rows) => Array.from(rows),
    (error: Error) => error.name,
  );

test('what comes while a batch runs goes together, in order, as much as fits', async () => {
  const { layer, batches } = slowLayer();
  const batcher = new Batcher(layer, limits);
  const first = ask(batcher, [1]);
  await turn();
  await turn();
  const others = [ask(batcher, [2, 3]), ask(batcher, [4]), ask(batcher, [5, 6])];
  expect(batches.map(({ tokens }) => tokens)).toEqual([[1]]);
  batches[0]?.finish();
  expect(await first).toEqual([2]);
  await turn();
  expect(batches[1]?.tokens).toEqual([2, 3, 4]);
  batches[1]?.finish();
  expect(await others[0]).toEqual([4, 6]);
  await turn();
  expect(batches[2]?.tokens).toEqual([5, 6]);
  batches[2]?.finish();
  expect(await Promise.all(others)).toEqual([[4, 6], [8], [10, 12]]);
  expect(batcher.waitingTokens).toBe(0);
});

test('more than may wait is refused at once', async () => {
  const { layer, batches } = slowLayer();
  const batcher = new Batcher(layer, limits);
  const served = [ask(batcher, [1, 2, 3, 4]), ask(batcher, [5, 6])];
  await expect(batcher.forward(Float32Array.of(7), never)).rejects.toBeInstanceOf(BusyError);
  for (let i = 0; i < 2; i++) {
    await turn();
    await turn();
    batches[i]?.finish();
    await served[i];
  }
  expect(await Promise.all(served)).toEqual([
    [2, 4, 6, 8],
    [10, 12],
  ]);
});

test('a request that is withdrawn never runs; a batch stops when all of its callers are gone', async () => {
  const { layer, batches } = slowLayer();
  const batcher = new Batcher(layer, limits);
  const [one, two, three] = [new AbortController(), new AbortController(), new AbortController()];
  const running = [ask(batcher, [1], one.signal), ask(batcher, [2], two.signal)];
  await turn();
  await turn();
  const waiting = ask(batcher, [3], three.signal);
  three.abort();
  expect(await waiting).toBe('AbortError');
  expect(batcher.waitingTokens).toBe(0);
  one.abort();
  expect(batches[0]?.aborted()).toBe(false);
  two.abort();
  expect(batches[0]?.aborted()).toBe(true);
  expect(await Promise.all(running)).toEqual(['AbortError', 'AbortError']);
  await turn();
  expect(batches.length).toBe(1);
  expect(await ask(batcher, [9], AbortSignal.abort())).toBe('AbortError');
});

test('closing answers what came before and refuses what comes after', async () => {
  const { layer, batches } = slowLayer();
  const batcher = new Batcher(layer, limits);
  const before = ask(batcher, [1]);
  const closed = batcher.close();
  await expect(batcher.forward(Float32Array.of(7), never)).rejects.toBeInstanceOf(ClosingError);
  await turn();
  await turn();
  batches[0]?.finish();
  expect(await before).toEqual([2]);
  await closed;
});

test('a failing batch fails its callers and no others', async () => {
  let calls = 0;
  const layer = {
    hiddenSize: 1,
    forward: async (hidden: Float32Array) => {
      if (calls++ === 0) throw new RangeError('broken');
      return { output: hidden, expertLoad: new Uint32Array() };
    },
  } as unknown as MoELayer;
  const batcher = new Batcher(layer, limits);
  expect(await ask(batcher, [1])).toBe('RangeError');
  expect(await ask(batcher, [2])).toEqual([2]);
});
