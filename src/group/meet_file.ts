import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError } from '../base/errors.js';
import {
  type Answer,
  hellosOf,
  type Meeting,
  millisecondsLeft,
  refused,
  tooLate,
} from './meeting.js';
import { type Hello, Roster } from './roster.js';

/** A rank says this often that it is still there: shared file systems show changes late, but within this order. */
const beatMilliseconds = 100;
/** A file that has not changed for so many beats is left over from a process that is gone. */
const staleBeats = 6;

/** A rank leaves this in the folder as long as it waits. */
interface Sign {
  hello: Hello;
  /** It tells one process's files from any other's. */
  nonce: string;
  beat: number;
}

/** Rank 0 answers with this, and only the process with this nonce takes it. */
interface Reply {
  nonce: string;
  answer: Answer;
}

/**
 * Meets the other ranks in a folder. What earlier groups left there does no harm: a rank counts as there only while its
 * file changes, and takes only an answer to its own nonce.
 */
export async function meetInFolder(meeting: Meeting, folder: string): Promise<Hello[]> {
  const { options } = meeting;
  const visit = new Visit(folder, meeting.helloAt(options.address ?? firstAddress()));
  try {
    await mkdir(folder, { recursive: true });
    await visit.expectNoOther();
    return options.rank === 0 ? await gather(meeting, visit) : await wait(meeting, visit);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith('ERR_MOE_')) throw error;
    throw new ConfigError(
      `Expected \`store\` to be a folder that ranks can read and write: ${message}`,
      {
        cause: error,
      },
    );
  } finally {
    await visit.end();
  }
}

async function gather(meeting: Meeting, visit: Visit): Promise<Hello[]> {
  const roster = new Roster(visit.hello);
  const others = new Map<number, Watch>();
  const nonces = new Map<number, string>();
  while (millisecondsLeft(meeting) > 0) {
    for (let rank = 1; rank < meeting.options.size; rank++) {
      const watch = others.get(rank) ?? new Watch(visit.signPath(rank));
      others.set(rank, watch);
      const sign = await watch.look();
      const present = roster.present(rank);
      if (present !== undefined && (sign === undefined || sign.nonce !== nonces.get(rank)))
        roster.remove(present); // it went away, or another took its place
      if (sign === undefined || roster.present(rank) !== undefined) continue;
      const objection = roster.objection(sign.hello);
      if (objection === undefined) {
        roster.add(sign.hello);
        nonces.set(rank, sign.nonce);
      } else {
        await visit.reply(rank, { nonce: sign.nonce, answer: { refused: objection } });
      }
    }
    const welcome = roster.complete;
    if (welcome !== undefined) {
      for (const [rank, nonce] of nonces) await visit.reply(rank, { nonce, answer: { welcome } });
      return welcome;
    }
    await visit.beat();
  }
  const late = roster.missing;
  for (const [rank, nonce] of nonces) await visit.reply(rank, { nonce, answer: { late } });
  throw tooLate(meeting, late);
}

async function wait(meeting: Meeting, visit: Visit): Promise<Hello[]> {
  while (millisecondsLeft(meeting) > 0) {
    const reply = await readJson<Reply>(visit.replyPath(meeting.options.rank));
    if (reply?.nonce === visit.nonce) {
      await rm(visit.replyPath(meeting.options.rank), { force: true });
      return hellosOf(meeting, reply.answer);
    }
    const sign = await readJson<Sign>(visit.signPath(meeting.options.rank));
    if (sign !== undefined && sign.nonce !== visit.nonce)
      throw refused(meeting, `rank ${meeting.options.rank} is another process`);
    await visit.beat();
  }
  throw tooLate(meeting, [0]);
}

/** A visit owns the files that one rank has in the folder. */
class Visit {
  readonly hello: Hello;
  readonly nonce = randomUUID();
  readonly #folder: string;
  #beat = 0;

  constructor(folder: string, hello: Hello) {
    this.#folder = folder;
    this.hello = hello;
  }

  signPath(rank: number): string {
    return join(this.#folder, `rank-${rank}.json`);
  }

  replyPath(rank: number): string {
    return join(this.#folder, `answer-${rank}.json`);
  }

  /** Throws `ConfigError` while another process is at the same rank. */
  async expectNoOther(): Promise<void> {
    const { rank } = this.hello;
    const watch = new Watch(this.signPath(rank));
    for (let beat = 0; beat < staleBeats; beat++) {
      if ((await readJson<Sign>(this.signPath(rank))) === undefined) break;
      if ((await watch.look()) !== undefined)
        throw new ConfigError(
          `Expected \`rank\` ${rank} to be free in ${this.#folder}: another process waits there with the same rank`,
        );
      await sleep(beatMilliseconds);
    }
    await this.#write();
  }

  async beat(): Promise<void> {
    await this.#write();
    await sleep(beatMilliseconds);
  }

  async reply(rank: number, reply: Reply): Promise<void> {
    await writeWhole(this.replyPath(rank), reply);
  }

  async end(): Promise<void> {
    const path = this.signPath(this.hello.rank);
    const sign = await readJson<Sign>(path);
    if (sign?.nonce === this.nonce) await rm(path, { force: true });
  }

  async #write(): Promise<void> {
    const sign: Sign = { hello: this.hello, nonce: this.nonce, beat: this.#beat++ };
    await writeWhole(this.signPath(this.hello.rank), sign);
  }
}

/** Tells whether the process behind a file lives: its beat changes. */
class Watch {
  readonly #path: string;
  #last: string | undefined;
  #alive = false;
  #unchanged = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Returns the sign, if it has changed since an earlier look and not too long ago. */
  async look(): Promise<Sign | undefined> {
    const sign = await readJson<Sign>(this.#path);
    const now = sign === undefined ? undefined : `${sign.nonce} ${sign.beat}`;
    if (now !== this.#last) {
      this.#alive = this.#last !== undefined && now !== undefined;
      this.#unchanged = 0;
    } else if (++this.#unchanged >= staleBeats) {
      this.#alive = false;
    }
    this.#last = now;
    return this.#alive ? sign : undefined;
  }
}

async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function writeWhole(path: string, value: unknown): Promise<void> {
  const part = `${path}.${randomUUID()}`;
  await writeFile(part, JSON.stringify(value));
  await rename(part, path);
}

/** Returns an address that other machines may reach, if there is one. */
function firstAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const usable = all.find(({ family, internal }) => family === 'IPv4' && !internal);
  return usable?.address ?? '127.0.0.1';
}
