// Ranks that are real processes.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { ForwardResult, GroupOptions } from '../../src/index.js';

/** An error as it was in the other process, and how long it took to come there. */
export interface Failure {
  name: string;
  code: string;
  message: string;
  /** Milliseconds. */
  after: number;
}

export class RankProcess {
  readonly child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { resolve(value: unknown): void; reject(error: Error): void }
  >();
  /** Resolves when it listens. */
  readonly ready: Promise<void>;
  readonly #progress: (() => void)[] = [];
  #sent = 0;

  /** @param within a command that runs its arguments somewhere else: `ip netns exec name` */
  constructor(within: readonly string[] = []) {
    const program = fileURLToPath(new URL('../fixtures/rank.mjs', import.meta.url));
    const [command, ...rest] = [...within, process.execPath, '--expose-gc', program];
    this.child = spawn(command as string, rest, {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.ready = once(this.child, 'message').then(() => {});
    this.child.on('message', (message: { id?: number; value?: unknown; failure?: Failure }) => {
      if (message.id === undefined) return this.#progress.shift()?.();
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.failure)
        waiting?.reject(Object.assign(new Error(message.failure.message), message.failure));
      else waiting?.resolve(message.value);
    });
    this.child.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`The process ended with ${code ?? signal}`));
    });
  }

  tell<T = unknown>(command: string, argument?: unknown): Promise<T> {
    const id = this.#sent++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.child.send({ id, command, argument });
    });
  }

  /** What a command fails with; throws when it succeeds. */
  async failureOf(command: string, argument?: unknown): Promise<Failure> {
    return failureOf(this.tell(command, argument));
  }

  /** Resolves when a batch of `forwardForEver` has ended. */
  progress(): Promise<void> {
    return new Promise((resolve) => this.#progress.push(resolve));
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

export async function failureOf(pending: Promise<unknown>): Promise<Failure> {
  try {
    await pending;
  } catch (error) {
    return error as Failure & Error;
  }
  throw new Error('Expected a failure, got none');
}

/** A port nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Processes for ranks, ended with the test. */
export class Ranks implements AsyncDisposable {
  readonly all: RankProcess[];

  constructor(size: number) {
    this.all = Array.from({ length: size }, () => new RankProcess());
  }

  /** All of them, as ranks of a new group. */
  async join(options: Partial<GroupOptions> = {}): Promise<unknown[]> {
    const store = options.store ?? `tcp://127.0.0.1:${await freePort()}`;
    const size = this.all.length;
    return this.tell('join', (rank) => ({ timeoutMs: 20_000, ...options, rank, size, store }));
  }

  /** Tells each rank the same at once. */
  tell<T = unknown>(command: string, argument?: (rank: number) => unknown): Promise<T[]> {
    return Promise.all(this.all.map((rank, index) => rank.tell<T>(command, argument?.(index))));
  }

  forward(batches: (rank: number) => Float32Array): Promise<ForwardResult[]> {
    return this.tell<ForwardResult>('forward', (rank) => ({ hidden: batches(rank) }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((rank) => rank.end()));
  }
}
