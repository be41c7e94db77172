// Two ranks on this machine against the sum of their parts: the experts computed alone, both ranks at once, and the
// bytes that they exchange at the rate that an exchange of that size has here. In turns, so that drift meets both.
// usage: node scripts/ranks-loopback.mjs [--tokens 512] [--rounds 41] [--repeat 3]      tokens on each rank
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { median, Rank, Workload } from './network/ranks.mjs';

const { values } = parseArgs({
  options: {
    tokens: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '41' },
    repeat: { type: 'string', default: '3' },
  },
});

/** Bytes that one of two ranks has sent so far. */
const sentBytes = () => Number(readFileSync('/sys/class/net/lo/statistics/tx_bytes', 'utf8')) / 2;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function measure(workload) {
  const [apart, joined, idle] = [0, 1, 2].map(() => [new Rank(), new Rank()]);
  const all = (ranks, command, argument) =>
    Promise.all(ranks.map((rank, index) => rank.tell(command, argument?.(index))));
  try {
    for (const ranks of [joined, idle]) {
      const store = `tcp://127.0.0.1:${await freePort()}`;
      await all(ranks, 'join', (rank) => ({ rank, size: 2, store }));
    }
    for (const ranks of [apart, joined])
      await all(ranks, 'create', () => ({ ...workload.options, threads: 1 }));
    const before = sentBytes();
    await workload.once(joined);
    const bytes = sentBytes() - before;
    const times = { compute: [], exchange: [], forward: [] };
    for (let round = 0; round < Number(values.rounds); round++) {
      const [{ bytesPerSecond }] = await all(idle, 'measure');
      times.exchange.push((bytes / bytesPerSecond) * 1e3);
      times.compute.push(await workload.once(apart));
      times.forward.push(await workload.once(joined));
    }
    const [compute, exchange, forward] = [times.compute, times.exchange, times.forward].map(median);
    return {
      bytesOfARank: bytes,
      computeMilliseconds: compute,
      exchangeMilliseconds: exchange,
      forwardMilliseconds: forward,
      overhead: forward / (compute + exchange) - 1,
    };
  } finally {
    for (const rank of [...apart, ...joined, ...idle]) rank.end();
  }
}

const workload = new Workload(Number(values.tokens));
for (let i = 0; i < Number(values.repeat); i++)
  console.log(JSON.stringify(await measure(workload), null, 2));
