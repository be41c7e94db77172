// Layers made, run and dropped; thousands of calls at once; closing with calls in flight. Resident memory must stay flat.
// usage: node --expose-gc scripts/stress.mjs [--scale 1] [--max-growth 16]   (after `make build`)
import { parseArgs } from 'node:util';
import { MoELayer } from '../dist/index.js';
import { randomValues, smallLayer } from './small-layer.mjs';

const { values } = parseArgs({
  options: {
    scale: { type: 'string', default: '1' },
    'max-growth': { type: 'string', default: '16' }, // MiB, far below one leaked layer per iteration
  },
});
const scale = Number(values.scale);
const maxGrowth = Number(values['max-growth']);
const times = (count) => Math.max(1, Math.round(count * scale));
const options = smallLayer([8, 2, 64, 48]);
const hidden = randomValues(4 * options.hiddenSize);

async function createRunDrop(count) {
  for (let i = 0; i < count; i++) {
    const layer = await MoELayer.create(options);
    await layer.forward(hidden);
    if (i % 2 === 0) await layer.close();
    if (i % 50 === 0) await collect();
  }
}

async function manyCalls(count) {
  const layer = await MoELayer.create(options);
  const { output } = await layer.forward(hidden);
  const results = await Promise.all(Array.from({ length: count }, () => layer.forward(hidden)));
  for (const result of results)
    if (!result.output.every((value, i) => value === output[i])) throw new Error('a call differs');
  await layer.close();
}

async function closeInFlight(count) {
  for (let i = 0; i < count; i++) {
    const layer = await MoELayer.create(options);
    const calls = Array.from({ length: 20 }, () => layer.forward(hidden).catch(({ code }) => code));
    await layer.close();
    const outcomes = await Promise.all(calls);
    const wrong = outcomes.find((o) => typeof o === 'string' && o !== 'ERR_MOE_CLOSED');
    if (wrong !== undefined) throw new Error(`a call ended with ${wrong}`);
  }
}

async function collect() {
  globalThis.gc?.();
  await new Promise((resolve) => setTimeout(resolve, 10));
}

async function residentMiB() {
  for (let i = 0; i < 5; i++) await collect();
  return process.memoryUsage().rss / 2 ** 20;
}

async function round() {
  await createRunDrop(times(1000));
  await manyCalls(times(10_000));
  await closeInFlight(times(100));
  return residentMiB();
}

const before = await round(); // the first round grows heaps and pools to what the work takes
const after = await round();
const growth = after - before;
console.log(
  `resident ${before.toFixed(1)} MiB, then ${after.toFixed(1)} MiB: grew by ${growth.toFixed(1)} of at most ${maxGrowth}`,
);
process.exitCode = growth <= maxGrowth ? 0 : 1;
