// Ranks in network namespaces of this machine, joined by links of a limited rate (and, where the kernel has netem, a
// delay): what overlap and groupWiseA2a bring on a slow link. Makes the namespaces and removes them, which takes root.
// With --loopback there are none: two ranks on this machine, and what dispatch and combine add to computing and moving bytes.
// usage: node scripts/ranks-network.mjs [--rate 200mbit] [--delay 1ms] [--tokens 256] [--loopback]
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { MoELayer } from '../dist/index.js';
import { randomValues, smallLayer } from './small-layer.mjs';

const { values: settings } = parseArgs({
  options: {
    rate: { type: 'string', default: '200mbit' },
    delay: { type: 'string', default: '1ms' },
    tokens: { type: 'string', default: '256' },
    loopback: { type: 'boolean', default: false },
  },
});
const tokens = Number(settings.tokens);
const sizes = { experts: 8, chosen: 2, hidden: 1024, intermediate: 1024 };
const rounds = 7;
const names = ['moe-node-0', 'moe-node-1'];
const addressOf = (node) => (loopback ? '127.0.0.1' : `10.199.0.${node + 1}`);

const ip = (...args) => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
const inside = (node, ...args) => ip('netns', 'exec', names[node], ...args);
const { loopback } = settings;

function skip(reason) {
  console.log(`skipped: ${reason}`);
  process.exit(0);
}

/** Two namespaces with a link between them. Returns how the link is slowed down. */
function makeNetwork() {
  for (const name of names) ip('netns', 'add', name);
  ip(
    'link',
    'add',
    'moe0',
    'netns',
    names[0],
    'type',
    'veth',
    'peer',
    'name',
    'moe1',
    'netns',
    names[1],
  );
  let kind = '';
  for (const node of [0, 1]) {
    const device = `moe${node}`;
    inside(node, 'ip', 'link', 'set', 'lo', 'up');
    inside(node, 'ip', 'address', 'add', `${addressOf(node)}/24`, 'dev', device);
    inside(node, 'ip', 'link', 'set', device, 'up');
    try {
      inside(
        node,
        'tc',
        'qdisc',
        'add',
        'dev',
        device,
        'root',
        'netem',
        'delay',
        settings.delay,
        'rate',
        settings.rate,
      );
      kind = `${settings.rate}, ${settings.delay} each way`;
    } catch {
      inside(
        node,
        'tc',
        'qdisc',
        'add',
        'dev',
        device,
        'root',
        'tbf',
        'rate',
        settings.rate,
        'burst',
        '64k',
        'latency',
        '400ms',
      );
      kind = `${settings.rate}, no delay: this kernel has no netem`;
    }
  }
  return kind;
}

function removeNetwork() {
  for (const name of names)
    try {
      ip('netns', 'delete', name);
    } catch {} // it was not made
}

/** Bytes that a node has sent over the link. */
const sentBytes = (node) =>
  loopback
    ? Number(readFileSync('/sys/class/net/lo/statistics/tx_bytes', 'utf8')) / 2 // of both ranks
    : Number(inside(node, 'cat', `/sys/class/net/moe${node}/statistics/tx_bytes`));

/** A rank in a namespace; see test/fixtures/rank.mjs. */
class Rank {
  #child;
  #next = 0;
  #waiting = new Map();

  constructor(node) {
    const program = [process.execPath, 'test/fixtures/rank.mjs'];
    const [command, ...rest] = loopback
      ? program
      : ['ip', 'netns', 'exec', names[node], ...program];
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

const options = smallLayer([sizes.experts, sizes.chosen, sizes.hidden, sizes.intermediate]);
const hidden = randomValues(tokens * sizes.hidden);

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** Joins ranks, one list of nodes, and times their forwards with each config. */
async function measure(nodes, modelParallel, configs) {
  const ranks = nodes.map((node) => new Rank(node));
  const all = (command, argument = () => undefined) =>
    Promise.all(ranks.map((rank, index) => rank.tell(command, argument(index))));
  try {
    const store = `tcp://${addressOf(nodes[0])}:29500`;
    await all('join', (rank) => ({
      rank,
      size: nodes.length,
      store,
      modelParallel,
      timeoutMs: 60_000,
    }));
    const link = (await all('measure'))[0];
    const results = [];
    for (const config of configs) {
      await all('create', () => ({
        ...options,
        threads: 1,
        config: { ...options.config, ...config },
      }));
      await all('forward', () => ({ hidden }));
      const before = sentBytes(nodes[0]);
      const times = [];
      for (let round = 0; round < rounds; round++)
        times.push(Math.max(...(await all('timedForward', () => ({ hidden })))));
      results.push({ milliseconds: median(times), bytes: (sentBytes(nodes[0]) - before) / rounds });
      await all('closeLayer');
    }
    return { link, results };
  } finally {
    for (const rank of ranks) rank.end();
  }
}

/** The same work in one process: what the experts take. */
async function computeMilliseconds() {
  const layer = await MoELayer.create({ ...options, threads: 1 });
  const times = [];
  for (let round = 0; round <= rounds; round++) {
    const begin = performance.now();
    await layer.forward(hidden);
    if (round > 0) times.push(performance.now() - begin);
  }
  await layer.close();
  return median(times);
}

/** Two ranks on this machine against the sum of their parts, all with both at work at once. */
async function measureLoopback() {
  const apart = [new Rank(0), new Rank(0)];
  const both = (command, argument) =>
    Promise.all(apart.map((rank) => rank.tell(command, argument)));
  await both('create', { ...options, threads: 1 });
  await both('timedForward', { hidden });
  const times = [];
  for (let round = 0; round < rounds; round++)
    times.push(Math.max(...(await both('timedForward', { hidden }))));
  for (const rank of apart) rank.end();
  const compute = median(times);
  const { link, results } = await measure([0, 0], 1, [{}]);
  const [{ milliseconds, bytes }] = results;
  const exchange = (bytes / link.bytesPerSecond) * 1e3;
  return {
    link: { kind: 'loopback', ...link },
    tokensPerRank: tokens,
    computeMilliseconds: compute,
    exchangeMilliseconds: exchange,
    forwardMilliseconds: milliseconds,
    overhead: milliseconds / (compute + exchange) - 1,
  };
}

if (loopback) {
  console.log(JSON.stringify(await measureLoopback(), null, 2));
  process.exit(0);
}
if (process.getuid?.() !== 0) skip('making network namespaces takes root');
try {
  ip('-V');
  execFileSync('tc', ['-V']);
} catch {
  skip('there is no ip or tc (Debian: iproute2)');
}
removeNetwork();
try {
  const kind = makeNetwork();
  const compute = await computeMilliseconds();
  const degrees = [1, 2, 4, 8];
  const overlap = await measure(
    [0, 1],
    1,
    degrees.map((degree) =>
      degree === 1 ? {} : { compCommParallel: true, compCommParallelDegree: degree },
    ),
  );
  const [off] = overlap.results;
  const exchange = (off.bytes / overlap.link.bytesPerSecond) * 1e3;
  const alpha = overlap.link.secondsPerExchange * 1e3;
  const predicted = (chunks) =>
    Math.max(exchange, compute) + Math.min(exchange, compute) / chunks + 2 * chunks * alpha;
  const slices = await measure([0, 0, 1, 1], 2, [{}, { groupWiseA2a: true }]);
  const document = {
    link: { kind, ...overlap.link },
    tokensPerRank: tokens,
    computeMilliseconds: compute,
    exchangeMilliseconds: exchange,
    overlap: degrees.map((degree, index) => ({
      degree,
      milliseconds: overlap.results[index].milliseconds,
      predictedMilliseconds: predicted(degree),
    })),
    groupWise: {
      bytesWithout: slices.results[0].bytes,
      bytesWith: slices.results[1].bytes,
      factor: slices.results[0].bytes / slices.results[1].bytes,
      millisecondsWithout: slices.results[0].milliseconds,
      millisecondsWith: slices.results[1].milliseconds,
    },
  };
  console.log(JSON.stringify(document, null, 2));
} finally {
  removeNetwork();
}
