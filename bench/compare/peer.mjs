// A peer's process. It waits for commands on stdin, one line each, and answers each with one line of JSON.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { summarizeLateness } from '../../dist/cli/bench/lateness.js';

export class Peer {
  #process;
  #answers;
  #stderr = '';

  /** A process of `program` (see install.mjs), which is told `args` last. */
  constructor({ name, type }, program, args) {
    this.name = name;
    this.type = type;
    this.version = program.version;
    this.#process = spawn(program.command, [...program.arguments, ...args], {
      env: { ...process.env, ...program.environment },
    });
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

  /** Starts a peer, waits until its weights are made, and pauses it. */
  static async start(choice, program, args) {
    const peer = new Peer(choice, program, args);
    try {
      await peer.#answer();
      await peer.pause();
      return peer;
    } catch (error) {
      peer.close();
      throw error;
    }
  }

  get pid() {
    return this.#process.pid;
  }

  /** Stops every thread of the process, those that wait spinning too. Returns when none runs. */
  async pause() {
    if (this.#ended) return;
    this.#process.kill('SIGSTOP');
    while (!this.#ended && !threadsOf(this.pid).every(({ state }) => state === 'T')) await sleep(1);
  }

  resume() {
    this.#process.kill('SIGCONT');
  }

  /** Gives a command and waits for its answer. */
  ask(...words) {
    this.#process.stdin.write(`${words.join(' ')}\n`);
    return this.#answer();
  }

  /** Times calls for about `seconds`; at least one. Milliseconds. */
  async time(tokens, seconds) {
    return (await this.ask('time', tokens, seconds)).milliseconds;
  }

  /** Output rows of the first and of the last token. */
  async rows(tokens) {
    const { rows } = await this.ask('rows', tokens, 0);
    return { first: rows.slice(0, rows.length / 2), last: rows.slice(rows.length / 2) };
  }

  /** How late the peer's own event loop ran while it worked. Only for peers that run in Node. */
  async lateness(tokens) {
    const { milliseconds, callMilliseconds } = await this.ask('lateness', tokens, 0);
    return summarizeLateness(milliseconds, callMilliseconds);
  }

  close() {
    this.#process.kill('SIGKILL'); // the one signal that ends a process that is stopped
  }

  get #ended() {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  async #answer() {
    const { value, done } = await this.#answers.next();
    if (done !== true) return JSON.parse(value);
    if (!this.#ended) await once(this.#process, 'close');
    const reason = this.#stderr.trim().split('\n').at(-1) || 'its end';
    throw new Error(`Expected an answer from ${this.name} ${this.type}, got ${reason}`);
  }
}

/** The threads of a process and the state that the system has them in; none of a process that has ended. */
export function threadsOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).map((thread) => {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
      return { thread, state: stat.slice(stat.lastIndexOf(')') + 2)[0] };
    });
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return [];
    throw error;
  }
}
