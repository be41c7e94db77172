// Two network namespaces of this machine with a link between them that has a rate and a delay. Takes root.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const names = ['moe-node-0', 'moe-node-1'];
const run = (command, ...args) =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
const inside = (node, ...args) => run('ip', 'netns', 'exec', names[node], ...args);

/** Why there can be no such link here; empty where there can. */
export function obstacle() {
  if (process.getuid?.() !== 0) return 'making network namespaces takes root';
  try {
    run('ip', '-V');
  } catch {
    return 'there is no ip (Debian: iproute2)';
  }
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun';
  return '';
}

export const addressOf = (node) => `10.199.0.${node + 1}`;

/** What runs a command on a node. */
export const onNode = (node) => ['ip', 'netns', 'exec', names[node]];

/** Bytes that a node has sent over the link. */
export const sentBytes = (node) =>
  Number(inside(node, 'cat', `/sys/class/net/moe${node}/statistics/tx_bytes`));

export class Link {
  #carrier;
  #folder = mkdtempSync(join(tmpdir(), 'slow-link-'));

  /** @param rate Mbit/s @param delay ms each way */
  static async make({ rate, delay }) {
    const link = new Link();
    removeNamespaces();
    try {
      await link.#start(rate, delay);
    } catch (error) {
      link.remove();
      throw error;
    }
    return link;
  }

  async #start(rate, delay) {
    const program = join(this.#folder, 'slow_link');
    const source = new URL('slow_link.cc', import.meta.url).pathname;
    run(process.env.CXX ?? 'c++', '-O2', '-std=c++20', source, '-o', program);
    const settings = ['moe0', 'moe1', String((rate * 1e6) / 8), String(delay * 1e3)];
    this.#carrier = spawn(program, settings, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(this.#carrier.stdout, 'data');
    for (const node of [0, 1]) {
      run('ip', 'netns', 'add', names[node]);
      run('ip', 'link', 'set', `moe${node}`, 'netns', names[node]);
      inside(node, 'ip', 'link', 'set', 'lo', 'up');
      inside(node, 'ip', 'address', 'add', `${addressOf(node)}/24`, 'dev', `moe${node}`);
      inside(node, 'ip', 'link', 'set', `moe${node}`, 'mtu', '9000', 'up');
    }
  }

  remove() {
    this.#carrier?.kill();
    removeNamespaces();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function removeNamespaces() {
  for (const name of names)
    try {
      run('ip', 'netns', 'delete', name);
    } catch {} // it was not made
}
