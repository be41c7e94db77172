import { afterEach, describe, expect, test, vi } from 'vitest';
import { choicesFor, parsePeers } from '../../bench/compare/choices.mjs';
import { Peer, threadsOf } from '../../bench/compare/peer.mjs';
import { compareReport } from '../../bench/compare/report.mjs';
import { ratioOf, slowdown, takeTurns, timeAlone } from '../../bench/compare/turns.mjs';
import { peersTable } from '../../scripts/performance/tables.mjs';

const { signal } = new AbortController();
const shape = { hiddenSize: 64, intermediateSize: 64, expertNum: 4, numExpertsChosen: 2 };
const program = {
  command: process.execPath,
  arguments: [`${import.meta.dirname}/../fixtures/spinning_peer.mjs`],
  environment: {},
  version: '1',
};
const peers: Peer[] = [];
const start = async () => {
  const peer = await Peer.start({ name: 'ggml', type: 'f32' }, program, []);
  peers.push(peer);
  return peer;
};

afterEach(() => {
  for (const peer of peers.splice(0)) peer.close();
});

const states = (peer: Peer) => new Set(threadsOf(peer.pid).map(({ state }) => state));

describe('peers with threads that spin', { timeout: 120_000 }, () => {
  test('run only in their own turns: every thread of the others is stopped', async () => {
    const everyone = [await start(), await start(), await start()];
    const seen: boolean[] = [];
    const contestants = everyone.map((peer) => ({
      resume: () => peer.resume(),
      pause: () => peer.pause(),
      time: (tokens: number, seconds: number) => {
        const others = everyone.filter((other) => other !== peer);
        seen.push(!states(peer).has('T'), ...others.map((other) => states(other).has('T')));
        expect(others.map(states)).toEqual([new Set('T'), new Set('T')]);
        return peer.time(tokens, seconds);
      },
    }));
    const turns = await takeTurns(contestants, 1, 1, signal);
    expect(turns).toEqual(everyone.map(() => Array(5).fill([2, 4])));
    expect(seen.length).toBe(5 * 3 * 2 * 3);
    expect(seen.every(Boolean)).toBe(true);
    expect(everyone.map(states)).toEqual(Array(3).fill(new Set('T')));
  });

  test('are stopped again after a turn that fails, and say how they ended', async () => {
    const [peer, other] = [await start(), await start()];
    const failing = {
      resume: () => peer.resume(),
      pause: () => peer.pause(),
      time: () => Promise.reject(new Error('no time')),
    };
    await expect(timeAlone(failing, 1, 1, signal)).rejects.toThrow('no time');
    expect([states(peer), states(other)]).toEqual([new Set('T'), new Set('T')]);
    const missing = {
      ...program,
      arguments: ['-e', 'console.error("no memory"); process.exit(2)'],
    };
    await expect(Peer.start({ name: 'ggml', type: 'f16' }, missing, [])).rejects.toThrow(
      'Expected an answer from ggml f16, got no memory',
    );
  });

  test('take no turn once the run is interrupted', async () => {
    const peer = await start();
    await expect(takeTurns([peer], 1, 1, AbortSignal.abort())).rejects.toThrow(/abort/);
    expect(states(peer)).toEqual(new Set('T'));
  });
});

describe('a ratio', () => {
  const ours = { alone: 1, turns: [[1], [1, 1, 50], [1.2]] };

  test('is the median over the rounds, each against ours of the same round', () => {
    expect(ratioOf(ours, { alone: 2, turns: [[2], [3], [2.4]] })).toBe(2);
  });

  test('is none where the peer was disturbed, or ours was', () => {
    const slow = { alone: 0.5, turns: [[4], [8], [12]] };
    expect(slowdown(slow)).toBe(16);
    expect(ratioOf(ours, slow)).toBeNull();
    expect(ratioOf(slow, ours)).toBeNull();
    expect(ratioOf(ours, { alone: 1, turns: [[1.3], [1.3], [9]] })).toBe(1.3);
  });

  test('that is none is called disturbed, for people and on the page', () => {
    const one = { milliseconds: { median: 4 }, alone: 0.5, gflops: 1, error: 0 };
    const peer = (type: string, ratio: number | null) => ({
      ...{ ...one, name: 'ggml', version: '1', type, ratio },
    });
    const result = {
      ...{ shape, device: 'cpu', deviceName: '', kernels: 'avx2', threads: 2, ranks: 1 },
      busyFraction: 0,
      cases: [
        {
          ...{ weightType: 'float32', tokens: 1, nodeMoe: one },
          peers: [peer('f32', null), peer('bf16', 2)],
        },
      ],
    };
    vi.stubEnv('COLUMNS', '120');
    const report = compareReport(result);
    vi.unstubAllEnvs();
    expect(report).toMatch(/ggml 1 f32 .*disturbed/);
    expect(report).toMatch(/ggml 1 bf16 .* 2\.0+x/);
    expect(report).toContain('more than 1.3 times as long in its turns as alone');
    expect(peersTable(result)).toMatch(/\| float32 \| 1 \| 4\.00 \| disturbed \| 2\.00x \|/);
  });
});

test('peers are named with their types, or are those of the device in the nearest type', () => {
  expect(parsePeers('ggml:q4_K, torch:bf16')).toEqual([
    { name: 'ggml', type: 'q4_K' },
    { name: 'torch', type: 'bf16' },
  ]);
  expect(() => parsePeers('ggml:q9')).toThrow('got `ggml:q9`');
  expect(() => parsePeers('constructor:length')).toThrow('Expected name:type of onnxruntime-node');
  expect(choicesFor(true, 'cpu', 'int4')).toEqual([
    { name: 'onnxruntime-node', type: 'q4' },
    { name: 'ggml', type: 'q4_0' },
    { name: 'ggml', type: 'q4_K' },
  ]);
  expect(choicesFor([], 'cpu', 'int4')).toEqual([]);
});
