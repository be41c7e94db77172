import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { MoEError } from '../base/errors.js';
import { ExpertGroup } from '../group/group.js';

const program = fileURLToPath(new URL('main.js', import.meta.url));
const timeoutMs = 60_000;

/**
 * Starts `size - 1` processes `node-moe worker` on this machine, with these arguments besides the group's, and joins them
 * as rank 0. They end with the group.
 */
export class LocalWorkers implements AsyncDisposable {
  readonly group: ExpertGroup;
  readonly #children: readonly Worker[];

  private constructor(group: ExpertGroup, children: readonly Worker[]) {
    this.group = group;
    this.#children = children;
  }

  static async start(size: number, workerArguments: readonly string[]): Promise<LocalWorkers> {
    const store = `tcp://127.0.0.1:${await freePort()}`;
    const children = Array.from({ length: size - 1 }, (_, index) => {
      const place = ['--rank', String(index + 1), '--size', String(size), '--store', store];
      return new Worker(index + 1, [...workerArguments, ...place]);
    });
    try {
      const join = ExpertGroup.join({ rank: 0, size, store, timeoutMs, workers: true });
      const group = await Promise.race([join, ...children.map((child) => child.failure)]);
      return new LocalWorkers(group, children);
    } catch (error) {
      for (const child of children) child.kill();
      throw error;
    }
  }

  /** The result of `body`, or the reason why a worker ended meanwhile. */
  async during<T>(body: (group: ExpertGroup) => Promise<T>): Promise<T> {
    const result = body(this.group);
    try {
      return await Promise.race([result, ...this.#children.map((child) => child.failure)]);
    } catch (error) {
      await result.catch(() => {}); // it fails, too, once its peer is gone
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.group.close();
    await Promise.all(this.#children.map((child) => child.ended));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

class Worker {
  readonly #child: ChildProcess;
  /** Rejects when the process fails; never resolves. */
  readonly failure: Promise<never>;
  readonly ended: Promise<void>;

  constructor(rank: number, workerArguments: readonly string[]) {
    const stdio: ['ignore', 'ignore', 'pipe'] = ['ignore', 'ignore', 'pipe'];
    const child = spawn(process.execPath, [program, 'worker', ...workerArguments], { stdio });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    this.#child = child;
    const exit = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
    this.ended = exit.then(() => {});
    this.failure = exit.then(([code, signal]) => {
      if (code === 0) return new Promise<never>(() => {});
      const reason = said.trim().replace(/^node-moe: /, '') || `it ended with ${code ?? signal}`;
      throw new MoEError('ERR_MOE_PEER_LOST', `Rank ${rank} failed: ${reason}`);
    });
    this.failure.catch(() => {}); // heard only while something waits for it
  }

  kill(): void {
    this.#child.kill();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
