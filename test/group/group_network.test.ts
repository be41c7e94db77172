// Ranks on two machines, which are network namespaces with a link between them, and the link is cut.
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { randomValues, smallLayer } from '../support/layers.js';
import { RankProcess } from '../support/ranks.js';

const names = [0, 1].map((node) => `moe-test-${process.pid}-${node}`) as [string, string];
const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' });
const inside = (node: 0 | 1, ...args: string[]) => ip('netns', 'exec', names[node], ...args);

/** Why there can be no namespaces here; empty where there can. */
function obstacle(): string {
  if (process.getuid?.() !== 0) return 'not root';
  try {
    ip('netns', 'add', names[0]);
    ip('netns', 'delete', names[0]);
    return '';
  } catch (error) {
    return `no network namespaces: ${(error as Error).message.split('\n')[0]}`;
  }
}

function makeNetwork(): void {
  for (const name of names) ip('netns', 'add', name);
  const ends = ['link', 'add', 'moe0', 'netns', names[0], 'type', 'veth', 'peer', 'name', 'moe1'];
  ip(...ends, 'netns', names[1]);
  for (const node of [0, 1] as const) {
    inside(node, 'ip', 'address', 'add', `10.198.0.${node + 1}/24`, 'dev', `moe${node}`);
    inside(node, 'ip', 'link', 'set', `moe${node}`, 'up');
  }
}

const reason = obstacle();

test.skipIf(reason !== '')(
  `a link that is cut ends the group on both sides in time${reason && ` (skipped: ${reason})`}`,
  async () => {
    const timeoutMs = 2000;
    const ranks: RankProcess[] = [];
    try {
      makeNetwork();
      ranks.push(...names.map((name) => new RankProcess(['ip', 'netns', 'exec', name])));
      const all = (command: string, argument: (rank: number) => unknown) =>
        Promise.all(ranks.map((process, rank) => process.tell(command, argument(rank))));
      const store = 'tcp://10.198.0.1:29500';
      await all('join', (rank) => ({ rank, size: 2, store, timeoutMs }));
      await all('create', () => smallLayer({ H: 64 }));
      const hidden = randomValues(64 * 64, 1);
      const failures = ranks.map((rank) => rank.failureOf('forwardForEver', { hidden }));
      await Promise.all(ranks.map((rank) => rank.progress()));
      inside(0, 'ip', 'link', 'set', 'moe0', 'down');
      const since = performance.now();
      for (const failure of await Promise.all(failures))
        expect(failure).toMatchObject({ name: 'GroupError', code: 'ERR_MOE_TIMEOUT' });
      expect(performance.now() - since).toBeLessThan(timeoutMs + 1000);
      await all('closeLayer', () => undefined);
      await all('closeGroup', () => undefined);
    } finally {
      await Promise.all(ranks.map((rank) => rank.end()));
      for (const name of names)
        try {
          ip('netns', 'delete', name);
        } catch {} // it was not made
    }
  },
);
