// What happens to the others when a rank dies, hangs or is cut off.
import { describe, expect, test } from 'vitest';
import type { GroupOptions } from '../src/index.js';
import { randomValues, smallLayer } from './support/layers.js';
import { type Failure, freePort, type RankProcess, Ranks } from './support/ranks.js';

const timeoutMs = 2000;
const options = smallLayer({ E: 12, H: 64, I: 64 });
const hidden = randomValues(64 * 64, 9);

/** Ranks that run batch after batch, and the failure that each will end with. */
async function running(ranks: Ranks, group: Partial<GroupOptions> = {}) {
  await ranks.join({ timeoutMs, ...group });
  await ranks.tell('create', () => options);
  const failures = ranks.all.map((rank) => rank.failureOf('forwardForEver', { hidden }));
  await Promise.all(ranks.all.map((rank) => rank.progress()));
  return failures;
}

/** Each survivor fails in time, with an error that says so, and stays alive. */
async function expectFailures(
  survivors: readonly RankProcess[],
  failures: readonly Promise<Failure>[],
  code: RegExp,
): Promise<void> {
  const since = performance.now();
  for (const failure of await Promise.all(failures)) {
    expect(failure.name).toBe('GroupError');
    expect(failure.code).toMatch(code);
  }
  expect(performance.now() - since).toBeLessThan(timeoutMs + 1000);
  for (const rank of survivors) {
    const again = await rank.failureOf('forward', { hidden });
    expect(again).toMatchObject({
      name: 'GroupError',
      message: expect.stringContaining('no use any more'),
    });
    expect(again.after).toBeLessThan(500);
  }
}

/** The survivors close what they have, join a new group and run. */
async function expectToGoOn(survivors: readonly RankProcess[]): Promise<void> {
  const store = `tcp://127.0.0.1:${await freePort()}`;
  const size = survivors.length;
  const all = (command: string, argument: (rank: number) => unknown = () => undefined) =>
    Promise.all(survivors.map((process, rank) => process.tell(command, argument(rank))));
  await all('closeLayer');
  await all('closeGroup');
  await all('join', (rank) => ({ rank, size, store, timeoutMs: 10_000 }));
  await all('create', () => options);
  const outputs = (await all('forward', () => ({ hidden }))) as { output: Float32Array }[];
  for (const { output } of outputs) expect(output).toEqual(outputs[0]?.output);
  await all('closeLayer');
  await all('closeGroup');
}

describe('the ranks that are left get an error in time, and go on without', () => {
  test('a rank that is killed in the middle of a forward', async () => {
    await using ranks = new Ranks(3);
    const [first, second, killed] = ranks.all as [RankProcess, RankProcess, RankProcess];
    const failures = await running(ranks);
    killed.child.kill('SIGKILL');
    failures[2]?.catch(() => {});
    await expectFailures([first, second], failures.slice(0, 2), /^ERR_MOE_PEER_LOST$/);
    await expectToGoOn([first, second]);
  });

  test('a rank that stops answering', async () => {
    await using ranks = new Ranks(3);
    const [stopped, second, third] = ranks.all as [RankProcess, RankProcess, RankProcess];
    const failures = await running(ranks);
    stopped.child.kill('SIGSTOP');
    await expectFailures([second, third], failures.slice(1), /^ERR_MOE_(TIMEOUT|PEER_LOST)$/);
    await expectToGoOn([second, third]);
    stopped.child.kill('SIGCONT');
    expect(await failures[0]).toMatchObject({ name: 'GroupError' });
  });

  test('ranks that make different calls', async () => {
    await using ranks = new Ranks(2);
    await ranks.join({ timeoutMs });
    await ranks.tell('create', () => options);
    const [first, second] = ranks.all as [RankProcess, RankProcess];
    const failures = await Promise.all([
      first.failureOf('forward', { hidden }),
      second.failureOf('totalLoad'),
    ]);
    for (const { name, message } of failures) {
      expect(name).toMatch(/ConfigError|GroupError/);
      expect(message).toMatch(/same calls|closed by peer|reset/);
    }
    await expectToGoOn([first, second]);
  });

  test('joining and leaving again and again holds on to nothing', async () => {
    await using ranks = new Ranks(2);
    const store = `tcp://127.0.0.1:${await freePort()}`;
    const rounds = (count: number) =>
      ranks.tell<number>('rounds', (rank) => ({
        count,
        join: { rank, size: 2, store, timeoutMs: 10_000 },
        options,
        hidden,
      }));
    const before = await rounds(60);
    const after = await rounds(60);
    for (const [rank, bytes] of after.entries())
      expect(bytes - (before[rank] as number)).toBeLessThan(8 << 20);
  });
});
