import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** A rank says this of itself when it joins. */
export interface Hello {
  /** Ranks of different builds of the addon would not understand each other. */
  build: string;
  rank: number;
  size: number;
  modelParallel: number;
  workers: boolean;
  /** Names the process among all processes of all machines. */
  process: string;
  /** The transport reaches it by this, which is base64. */
  contact: string;
}

/** A roster knows who has come so far, as rank 0 sees it. */
export class Roster {
  readonly #hellos: (Hello | undefined)[];

  constructor(first: Hello) {
    this.#hellos = Array.from({ length: first.size });
    this.#hellos[first.rank] = first;
  }

  /** Says why a rank cannot join; undefined when it can. */
  objection(hello: unknown): string | undefined {
    const first = this.#hellos[0] as Hello;
    if (!isHello(hello)) return 'it does not say what a rank of node-moe says';
    if (hello.build !== first.build)
      return `it runs ${hello.build}, rank 0 ${first.build}: install the same version`;
    for (const name of ['size', 'modelParallel', 'workers'] as const)
      if (hello[name] !== first[name])
        return `its \`${name}\` is ${hello[name]}, rank 0's is ${first[name]}`;
    if (!(hello.rank >= 0 && hello.rank < first.size))
      return `its \`rank\` ${hello.rank} is not below \`size\` ${first.size}`;
    if (this.#hellos[hello.rank] !== undefined) return `rank ${hello.rank} is another process`;
    const same = this.#hellos.find((other) => other?.process === hello.process);
    if (same !== undefined)
      return `rank ${same.rank} is the same process, and a device runs one rank's call at a time: start a process for each rank`;
    return undefined;
  }

  add(hello: Hello): void {
    this.#hellos[hello.rank] = hello;
  }

  /** Forgets a rank that went away before all had come. */
  remove(hello: Hello): void {
    if (this.#hellos[hello.rank] === hello) this.#hellos[hello.rank] = undefined;
  }

  present(rank: number): Hello | undefined {
    return this.#hellos[rank];
  }

  get missing(): number[] {
    return [...this.#hellos.keys()].filter((rank) => this.#hellos[rank] === undefined);
  }

  /** Returns all ranks in order, once nobody is missing. */
  get complete(): Hello[] | undefined {
    return this.missing.length === 0 ? (this.#hellos as Hello[]) : undefined;
  }
}

function isHello(value: unknown): value is Hello {
  if (typeof value !== 'object' || value === null) return false;
  const { build, rank, size, modelParallel, workers, process, contact } = value as Partial<Hello>;
  return (
    typeof workers === 'boolean' &&
    [build, process, contact].every((text) => typeof text === 'string') &&
    [rank, size, modelParallel].every(Number.isSafeInteger)
  );
}

/** Says `rank 2`, or `ranks 2, 3`. */
export function rankNames(ranks: readonly number[]): string {
  return `${ranks.length === 1 ? 'rank' : 'ranks'} ${ranks.join(', ')}`;
}

/** Names this process. Containers and network namespaces of one machine may look alike: processes do not. */
export function thisProcess(): string {
  const boot = orEmpty(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
  const namespace = orEmpty(() => readlinkSync('/proc/self/ns/pid'));
  return `${hostname()} ${boot} ${namespace} ${process.pid}`;
}

function orEmpty(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}
