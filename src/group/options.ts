import { expectInteger, expectMultiple, unexpected } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { boolean, choice, expectOptions, integer, other, type Rows, textOf } from '../base/rows.js';

export const transports = ['auto', 'gloo'] as const;
/** A transport carries bytes between ranks. */
export type Transport = (typeof transports)[number];

/** `ExpertGroup.join` meets the other ranks as these say. */
export interface GroupOptions {
  /** This process is the rank with this number, counted from 0. */
  rank: number;
  /** The group has this many ranks. */
  size: number;
  /**
   * The ranks meet here: `tcp://host:port`, an address of rank 0's machine, which rank 0 serves while they join, or
   * `file:///path`, a folder that all of them can read and write.
   */
  store: string;
  /**
   * This many adjacent ranks share each expert's columns; they are a set, and hold the same tokens. It divides `size`
   * and defaults to 1. The experts are split over `size / modelParallel` sets.
   */
  modelParallel?: number | undefined;
  /**
   * Only rank 0 has tokens, and the others follow it: they are `node-moe worker` processes, or call `group.follow`. All
   * ranks say the same. It excludes model parallelism. It defaults to false: every rank has tokens of its own.
   */
  workers?: boolean | undefined;
  /** `join` and every call wait this many milliseconds for a peer. It defaults to 30000. */
  timeoutMs?: number | undefined;
  /** The default, `'auto'`, is gloo, and the device's own library where it has one. */
  transport?: Transport | undefined;
  /**
   * Peers reach this machine by this address of one of its interfaces. It defaults to the one that leads to rank 0 or,
   * with a `file:` store, to the first that is not the machine's own loop.
   */
  address?: string | undefined;
}

/** Ranks meet at a store. */
export type Store =
  | { kind: 'tcp'; text: string; host: string; port: number }
  | { kind: 'file'; text: string; folder: string };

/** These are the options with their defaults. */
export interface ResolvedGroupOptions {
  rank: number;
  size: number;
  store: Store;
  modelParallel: number;
  workers: boolean;
  timeoutMs: number;
  transport: 'gloo';
  address: string | undefined;
}

const maxRanks = 4096;
const maxTimeoutMs = 2 ** 31 - 1;

export const groupRows: Rows<GroupOptions> = {
  size: { kind: integer(1, maxRanks), required: true },
  rank: { kind: integer(0), required: true },
  store: { kind: other(parseStore), required: true },
  modelParallel: { kind: integer(1, maxRanks) },
  workers: { kind: boolean },
  timeoutMs: { kind: integer(1, maxTimeoutMs) },
  transport: { kind: choice(transports) },
  address: { kind: textOf('an address of this machine') },
};

/** Throws `ConfigError` for options that describe no rank of a group. */
export function resolveGroupOptions(options: GroupOptions): ResolvedGroupOptions {
  expectOptions('ExpertGroup.join', options, groupRows);
  const { rank, size, modelParallel = 1, workers = false, timeoutMs = 30_000, address } = options;
  expectInteger('rank', rank, 0, size - 1);
  expectMultiple('size', size, 'modelParallel', modelParallel);
  if (workers && modelParallel > 1)
    throw new ConfigError(
      `Expected \`modelParallel\` to be 1 with \`workers\`: the ranks of a set have the same tokens, got ${modelParallel}`,
    );
  const store = parseStore('store', options.store);
  return {
    ...{ rank, size, store, modelParallel, workers, timeoutMs, transport: 'gloo' as const },
    address,
  };
}

function parseStore(name: string, text: unknown): Store {
  const wrong = () => unexpected(name, "'tcp://host:port' or 'file:///path'", text);
  if (typeof text !== 'string') throw wrong();
  const [, folder] = /^file:\/\/(\/.+)$/.exec(text) ?? [];
  if (folder !== undefined) return { kind: 'file', text, folder: decodePath(folder, wrong) };
  const [, bracketed, plain, digits] =
    /^tcp:\/\/(?:\[([\da-fA-F:.%]+)\]|([^\s:/[\]]+)):(\d{1,5})\/?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || !(port >= 1 && port <= 65535)) throw wrong();
  return { kind: 'tcp', text, host, port };
}

function decodePath(path: string, wrong: () => ConfigError): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw wrong();
  }
}
