import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type Lateness, summarizeLateness } from './lateness.js';
import type { PeerName, PeerProgram } from './peer_install.js';
import type { Shape } from './shapes.js';

/** A peer and the type it holds weights in. */
export interface PeerChoice {
  name: PeerName;
  type: string;
}

/** A peer's process. It waits for commands on stdin, one line each, and answers each with one line of JSON. */
export class Peer {
  readonly name: PeerName;
  readonly type: string;
  readonly version: string;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;
  #stderr = '';

  private constructor(
    { name, type }: PeerChoice,
    program: PeerProgram,
    shape: Shape,
    threads: number,
  ) {
    this.name = name;
    this.type = type;
    this.version = program.version;
    const sizes = [
      shape.hiddenSize,
      shape.intermediateSize,
      shape.expertNum,
      shape.numExpertsChosen,
    ];
    this.#process = spawn(
      program.command,
      [...program.arguments, ...sizes.map(String), type, String(threads)],
      {
        env: { ...process.env, ...program.environment },
      },
    );
    this.#process.stderr.on('data', (text) => {
      this.#stderr = (this.#stderr + text).slice(-2000);
    });
    this.#process.on('error', (error) => {
      this.#stderr += error.message;
    });
    // A write to a process that has ended: its last words are in stderr.
    this.#process.stdin.on('error', () => {});
    this.#answers = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** Starts a peer and waits until its weights are made. */
  static async start(
    choice: PeerChoice,
    program: PeerProgram,
    shape: Shape,
    threads: number,
  ): Promise<Peer> {
    const peer = new Peer(choice, program, shape, threads);
    await peer.#answer();
    return peer;
  }

  /** Times calls for about `seconds`. Milliseconds. */
  async time(tokens: number, seconds: number): Promise<number[]> {
    return (await this.#ask<{ milliseconds: number[] }>('time', tokens, seconds)).milliseconds;
  }

  /** Output rows of the first and of the last token. */
  async rows(tokens: number): Promise<{ first: number[]; last: number[] }> {
    const { rows } = await this.#ask<{ rows: number[] }>('rows', tokens);
    return { first: rows.slice(0, rows.length / 2), last: rows.slice(rows.length / 2) };
  }

  /** How late the peer's own event loop ran while it worked. Only for peers that run in Node. */
  async lateness(tokens: number): Promise<Lateness> {
    const answer = await this.#ask<{ milliseconds: number[]; callMilliseconds: number }>(
      'lateness',
      tokens,
    );
    return summarizeLateness(answer.milliseconds, answer.callMilliseconds);
  }

  close(): void {
    this.#process.stdin.end();
    this.#process.kill();
  }

  #ask<T>(command: string, tokens: number, seconds = 0): Promise<T> {
    this.#process.stdin.write(`${command} ${tokens} ${seconds}\n`);
    return this.#answer<T>();
  }

  async #answer<T>(): Promise<T> {
    const { value, done } = await this.#answers.next();
    if (done !== true) return JSON.parse(value) as T;
    if (this.#process.exitCode === null && this.#process.signalCode === null)
      await once(this.#process, 'close');
    const reason = this.#stderr.trim().split('\n').at(-1) || 'its end';
    throw new Error(`Expected an answer from ${this.name} ${this.type}, got ${reason}`);
  }
}
