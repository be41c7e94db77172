import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { NativeSampling, NativeStep } from '../../src/binding/model.js';
import { Scheduler, type SequenceRequest } from '../../src/model/scheduler.js';
import { HashEngine, newCancellation, nextToken } from './hash_engine.js';

const sampling = { logprobs: -1 } as NativeSampling;

interface Asked {
  tokens: number[];
  newTokens: number;
  signal?: AbortSignal;
  /** Called with the tokens so far; false ends it. */
  goesOn?: (tokens: number[]) => boolean;
}

function ask(scheduler: Scheduler, { tokens, newTokens, signal, goesOn = () => true }: Asked) {
  const sampled: number[] = [];
  let ends = 0;
  const { promise, resolve, reject } = withResolvers();
  const request: SequenceRequest = {
    ...{ tokens: Int32Array.from(tokens), newTokens, sampling, signal },
    admitted: () => {},
    sampled: ({ token }) => {
      sampled.push(token);
      return sampled.length < newTokens && goesOn(sampled);
    },
    ended: (reason) => {
      expect(++ends).toBe(1);
      if (reason === undefined) resolve(sampled);
      else reject(reason);
    },
  };
  scheduler.add(request);
  return { request, promise };
}

function withResolvers() {
  let resolve: (value: number[]) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<number[]>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** What a sequence gives when nothing else runs. */
function alone(tokens: readonly number[], newTokens: number): number[] {
  const all = [...tokens];
  while (all.length < tokens.length + newTokens) all.push(nextToken(all));
  return all.slice(tokens.length);
}

const make = (capacity = 500, stepTokens = 16, maxWaiting = 1000) => {
  const engine = new HashEngine(capacity);
  const options = { stepTokens, maxWaiting, prefixCache: false, newCancellation };
  return { engine, scheduler: new Scheduler(engine, options) };
};

const prompt = (length: number, seed: number) =>
  Array.from({ length }, (_, i) => 20 + ((seed * 31 + i * 7) % 900));

test('a thousand requests that come, wait, leave and end as they like are all answered as if they were alone', async () => {
  let state = 12345;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const { engine, scheduler } = make();
  const outcomes: Promise<void>[] = [];
  const controllers: AbortController[] = [];
  for (let i = 0; i < 1000; i++) {
    const tokens = prompt(1 + random(60), i);
    const newTokens = 1 + random(30);
    const controller = new AbortController();
    controllers.push(controller);
    const kind = random(4);
    const reason = new Error(`request ${i} has had enough`);
    const goesOn = (sampled: number[]) => {
      if (kind === 1 && sampled.length === 3) controller.abort(reason);
      return !(kind === 2 && sampled.length === 2);
    };
    const { request, promise } = ask(scheduler, {
      tokens,
      newTokens,
      signal: controller.signal,
      goesOn,
    });
    if (kind === 3 && random(2) === 0) setTimeout(() => controller.abort(reason), random(20));
    else if (kind === 3) setTimeout(() => scheduler.leave(request, reason), random(20));
    outcomes.push(
      promise.then(
        (sampled) => {
          const expected = alone(tokens, newTokens);
          expect(sampled).toEqual(
            expected.slice(0, kind === 2 ? Math.min(2, newTokens) : newTokens),
          );
        },
        (error) => expect(error).toBe(reason),
      ),
    );
    if (random(10) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(outcomes);
  await scheduler.close();
  expect([scheduler.running, scheduler.waiting, engine.sequences.size]).toEqual([0, 0, 0]);
  for (const { signal } of controllers) expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('prompts are read in pieces beside those that decode, within the budget', async () => {
  const { engine, scheduler } = make(500, 8);
  const rows: number[] = [];
  engine.beforeStep = async ({ counts }) => {
    rows.push(counts.reduce((sum, count) => sum + count, 0));
  };
  const asked = [prompt(30, 1), prompt(3, 2), prompt(20, 3)].map(
    (tokens) => ask(scheduler, { tokens, newTokens: 10 }).promise,
  );
  expect(await Promise.all(asked)).toEqual([
    alone(prompt(30, 1), 10),
    alone(prompt(3, 2), 10),
    alone(prompt(20, 3), 10),
  ]);
  expect(Math.max(...rows)).toBe(8);
  expect(rows.length).toBeLessThan(30);
});

describe('who cannot be served is told', () => {
  test('one more than may wait', () => {
    const { scheduler } = make(500, 8, 2);
    ask(scheduler, { tokens: prompt(3, 1), newTokens: 1 }).promise.catch(() => {});
    ask(scheduler, { tokens: prompt(3, 1), newTokens: 1 }).promise.catch(() => {});
    expect(() => ask(scheduler, { tokens: prompt(3, 1), newTokens: 1 })).toThrow(
      /at most 2 waiting/,
    );
  });

  test('one that never fits, while others go on', async () => {
    const { scheduler } = make(50);
    const never = ask(scheduler, { tokens: prompt(49, 1), newTokens: 2 });
    const fits = ask(scheduler, { tokens: prompt(40, 1), newTokens: 2 });
    await expect(never.promise).rejects.toThrow(/ERR_MOE_SHAPE/);
    expect(await fits.promise).toEqual(alone(prompt(40, 1), 2));
  });

  test('one whose logits are no numbers, and it alone', async () => {
    const { scheduler } = make();
    const bad = ask(scheduler, { tokens: [13, 5], newTokens: 3 });
    const good = ask(scheduler, { tokens: [14, 5], newTokens: 3 });
    await expect(bad.promise).rejects.toThrow(/NaN/);
    expect(await good.promise).toEqual(alone([14, 5], 3));
  });

  test('all of a step that fails', async () => {
    const { engine, scheduler } = make();
    engine.beforeStep = async () => {
      throw Object.assign(new Error('out of order'), { code: 'ERR_MOE_DEVICE' });
    };
    const both = [1, 2].map(
      (seed) => ask(scheduler, { tokens: prompt(3, seed), newTokens: 3 }).promise,
    );
    for (const each of both) await expect(each).rejects.toThrow('out of order');
    expect(engine.sequences.size).toBe(0);
  });

  test('those who run and wait when it closes, and those who come later', async () => {
    const { engine, scheduler } = make(40);
    const asked = [1, 2, 3].map(
      (seed) => ask(scheduler, { tokens: prompt(9, seed), newTokens: 20 }).promise,
    );
    const settled = Promise.allSettled(asked);
    await new Promise((resolve) => setImmediate(resolve));
    await scheduler.close();
    for (const each of await settled)
      expect(each).toMatchObject({ reason: { code: 'ERR_MOE_CLOSED' } });
    expect(() => ask(scheduler, { tokens: [1], newTokens: 1 })).toThrow(/closed/);
    expect(engine.sequences.size).toBe(0);
  });
});

test('a step that is mostly of one who leaves is cancelled, and the others do it again', async () => {
  const { engine, scheduler } = make(500, 64);
  const controller = new AbortController();
  const long = ask(scheduler, { tokens: prompt(60, 1), newTokens: 5, signal: controller.signal });
  const short = ask(scheduler, { tokens: prompt(2, 2), newTokens: 5 });
  const counts: number[][] = [];
  engine.beforeStep = async (step) => {
    counts.push([...step.counts]);
    if (counts.length === 1) controller.abort(new Error('enough'));
  };
  await expect(long.promise).rejects.toThrow('enough');
  expect(await short.promise).toEqual(alone(prompt(2, 2), 5));
  expect(counts.slice(0, 2)).toEqual([[60, 2], [2]]);
});

describe('while all decode and nobody waits, the next step is queued behind the one that runs', () => {
  const start = (newTokens: number, goesOn?: Asked['goesOn']) => {
    const { engine, scheduler } = make();
    const queued: number[] = [];
    engine.beforeStep = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      queued.push(engine.queued);
    };
    const asked = ask(scheduler, { tokens: prompt(5, 1), newTokens, ...(goesOn && { goesOn }) });
    return { engine, scheduler, queued, asked };
  };

  test('but none that nobody has room for', async () => {
    const { engine, queued, asked } = start(6);
    expect(await asked.promise).toEqual(alone(prompt(5, 1), 6));
    await engine.idle();
    expect(queued).toEqual([0, 1, 1, 1, 1, 0]);
  });

  test('which leaves out a sequence that has ended, and ends before others find no room', async () => {
    const { engine, scheduler, asked } = start(400, (sampled) => sampled.length < 3);
    expect(await asked.promise).toEqual(alone(prompt(5, 1), 3));
    const next = ask(scheduler, { tokens: prompt(5, 2), newTokens: 450 });
    expect(await next.promise).toEqual(alone(prompt(5, 2), 450));
    expect(engine.sequences.size).toBe(0);
  });

  test('unless somebody comes meanwhile, who need not wait for it', async () => {
    const { engine, scheduler, asked } = start(20);
    const counts: number[][] = [];
    let later: ReturnType<typeof ask> | undefined;
    engine.beforeStep = async (step) => {
      counts.push([...step.counts]);
      await new Promise((resolve) => setImmediate(resolve));
      if (counts.length === 3) later = ask(scheduler, { tokens: prompt(7, 2), newTokens: 2 });
    };
    expect(await asked.promise).toEqual(alone(prompt(5, 1), 20));
    expect(await later?.promise).toEqual(alone(prompt(7, 2), 2));
    expect(counts.slice(0, 5)).toEqual([[5], [1], [1], [1, 7], [1, 1]]);
  });

  test('unless the device has no room for it, which is no failure', async () => {
    const { engine, asked } = start(20);
    engine.mostQueued = 0;
    expect(await asked.promise).toEqual(alone(prompt(5, 1), 20));
    expect(engine.refused).toBeGreaterThan(5);
  });
});

describe('a text that is scored', () => {
  const score = (scheduler: Scheduler, length: number, signal?: AbortSignal) => {
    const placed: [number, number][] = [];
    const place = (_: NativeStep, row: number, rows: number) => placed.push([row, rows]);
    const tokens = Int32Array.from(prompt(length, length));
    return { placed, promise: scheduler.score(tokens, { rows: 8, place }, signal) };
  };

  test('has steps of its own, which take turns with those of others, one text at a time', async () => {
    const { engine, scheduler } = make(100);
    const turns: number[] = [];
    engine.beforeStep = async ({ sequences }) => {
      turns.push(sequences[0] as number);
    };
    const beside = ask(scheduler, { tokens: prompt(40, 1), newTokens: 30 });
    const scored = [score(scheduler, 20), score(scheduler, 7)];
    await Promise.all(scored.map(({ promise }) => promise));
    expect(scored.map(({ placed }) => placed)).toEqual([
      [
        [0, 8],
        [8, 8],
        [16, 4],
      ],
      [[0, 7]],
    ]);
    expect(await beside.promise).toEqual(alone(prompt(40, 1), 30));
    expect(turns.slice(0, 8)).toEqual([1, 0, 1, 0, 1, 0, 2, 0]);
    await expect(score(scheduler, 101).promise).rejects.toThrow(/ERR_MOE_SHAPE/);
    expect(engine.sequences.size).toBe(0);
  });

  test('has its turn when it comes, however many want the room that others leave', async () => {
    const { engine, scheduler } = make(100);
    let answered = 0;
    const flood = Array.from({ length: 50 }, (_, i) =>
      ask(scheduler, { tokens: prompt(30, i), newTokens: 10 }).promise.then(() => answered++),
    );
    const { promise } = score(scheduler, 60);
    const later = Array.from({ length: 50 }, (_, i) =>
      ask(scheduler, { tokens: prompt(30, i), newTokens: 10 }).promise.then(() => answered++),
    );
    await promise;
    expect(answered).toBeGreaterThanOrEqual(48);
    expect(answered).toBeLessThan(60);
    await Promise.all([...flood, ...later]);
    expect(engine.sequences.size).toBe(0);
  });

  test('waits as sequences do, and no more of them', async () => {
    const { scheduler } = make(100, 16, 1);
    const first = score(scheduler, 20);
    await expect(score(scheduler, 20).promise).rejects.toThrow(/at most 1 waiting/);
    await first.promise;
  });

  test('ends with its signal while it waits, in the middle of a step, and when the model is closed', async () => {
    const { engine, scheduler } = make(100);
    const reason = new Error('enough');
    const controllers = [new AbortController(), new AbortController()] as const;
    const running = score(scheduler, 60, controllers[0].signal);
    const waiting = score(scheduler, 60, controllers[1].signal);
    const closed = score(scheduler, 60);
    engine.beforeStep = async () => {
      for (const controller of controllers) controller.abort(reason);
    };
    await expect(waiting.promise).rejects.toBe(reason);
    await expect(running.promise).rejects.toBe(reason);
    expect([running.placed.length, waiting.placed.length]).toEqual([1, 0]);
    const ended = expect(closed.promise).rejects.toMatchObject({ code: 'ERR_MOE_CLOSED' });
    await scheduler.close();
    await ended;
    expect(engine.sequences.size).toBe(0);
    for (const { signal } of controllers) expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('keeps its room until it has ended', async () => {
    const { engine, scheduler } = make(100);
    const scored = score(scheduler, 60);
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.sequences.size).toBe(1);
    const asked = ask(scheduler, { tokens: prompt(40, 1), newTokens: 10 });
    expect(await asked.promise).toEqual(alone(prompt(40, 1), 10));
    await scored.promise;
    expect(engine.sequences.size).toBe(0);
  });
});
