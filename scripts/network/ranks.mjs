// Ranks as processes of test/fixtures/rank.mjs, timed.
import { spawn } from 'node:child_process';
import { MoELayer } from '../../dist/index.js';
import { randomValues, smallLayer } from '../small-layer.mjs';

const sizes = { experts: 8, chosen: 2, hidden: 1024, intermediate: 1024 };
const warmups = 2;
const rounds = 9;

export class Rank {
  #child;
  #next = 0;
  #waiting = new Map();

  /** @param within a command that runs its arguments somewhere else */
  constructor(within = []) {
    const [command, ...rest] = [...within, process.execPath, 'test/fixtures/rank.mjs'];
    this.#child = spawn(command, rest, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    this.#child.on('message', ({ id, value, failure }) => {
      const { resolve, reject } = this.#waiting.get(id) ?? {};
      if (failure) reject(new Error(failure.message));
      else resolve?.(value);
    });
  }

  tell(command, argument) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, command, argument });
    });
  }

  end() {
    this.#child.kill('SIGKILL');
  }
}

/** A layer of 8 experts of 1024 x 1024, one thread on each rank, and batches for it. */
export class Workload {
  options = smallLayer([sizes.experts, sizes.chosen, sizes.hidden, sizes.intermediate]);

  constructor(tokens) {
    this.hidden = randomValues(tokens * sizes.hidden);
  }

  /** Milliseconds of a forward on all ranks at once, the slowest rank's. */
  async once(ranks) {
    const message = { hidden: this.hidden };
    return Math.max(
      ...(await Promise.all(ranks.map((rank) => rank.tell('timedForward', message)))),
    );
  }

  /** Medians of forwards on these groups of ranks, in turns. */
  async milliseconds(...groups) {
    const times = groups.map(() => []);
    for (let round = 0; round < warmups + rounds; round++)
      for (const [index, ranks] of groups.entries()) {
        const time = await this.once(ranks);
        if (round >= warmups) times[index].push(time);
      }
    return times.map(median);
  }

  /** The same work in one process: what the experts take. */
  async alone() {
    const layer = await MoELayer.create({ ...this.options, threads: 1 });
    const times = [];
    for (let round = 0; round <= rounds; round++) {
      const begin = performance.now();
      await layer.forward(this.hidden);
      if (round > 0) times.push(performance.now() - begin);
    }
    await layer.close();
    return median(times);
  }

  /**
   * Joins ranks and times their forwards with each config.
   *
   * @param within for each rank, the command that runs it where it belongs
   * @param sentBytes how many bytes the first node has sent so far
   */
  async measure(within, join, sentBytes, configs) {
    const ranks = within.map((command) => new Rank(command));
    const all = (command, argument = () => undefined) =>
      Promise.all(ranks.map((rank, index) => rank.tell(command, argument(index))));
    try {
      await all('join', (rank) => ({ ...join, rank, size: ranks.length, timeoutMs: 60_000 }));
      const link = (await all('measure'))[0];
      const results = [];
      for (const config of configs) {
        const layer = {
          ...this.options,
          threads: 1,
          config: { ...this.options.config, ...config },
        };
        await all('create', () => layer);
        const before = sentBytes();
        const [milliseconds] = await this.milliseconds(ranks);
        const bytes = (sentBytes() - before) / (warmups + rounds);
        results.push({ milliseconds, bytes });
        await all('closeLayer');
      }
      return { link, results };
    } finally {
      for (const rank of ranks) rank.end();
    }
  }
}

export function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
