// Ranks in two network namespaces of this machine with a slow link between them: what overlap and groupWiseA2a bring
// there. Takes root and a C++ compiler.
// usage: node scripts/ranks-network.mjs [--rate 200] [--delay 1] [--tokens 256]      Mbit/s, ms each way, on each rank
import { parseArgs } from 'node:util';
import { addressOf, Link, obstacle, onNode, sentBytes } from './network/link.mjs';
import { Workload } from './network/ranks.mjs';

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '200' },
    delay: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '256' },
  },
});
const [rate, delay, tokens] = [values.rate, values.delay, values.tokens].map(Number);
const reason = obstacle();
if (reason !== '') {
  console.log(`skipped: ${reason}`);
  process.exit(0);
}

let port = 29500;
const workload = new Workload(tokens);
/** Ranks on these nodes. */
const measure = (nodes, join, configs) =>
  workload.measure(
    nodes.map(onNode),
    { store: `tcp://${addressOf(0)}:${port++}`, ...join },
    () => sentBytes(0),
    configs,
  );

async function overlap() {
  const computeMilliseconds = await workload.alone();
  const degrees = [1, 2, 4, 8];
  const { link, results } = await measure(
    [0, 1],
    {},
    degrees.map((degree) =>
      degree === 1 ? {} : { compCommParallel: true, compCommParallelDegree: degree },
    ),
  );
  const exchange = (results[0].bytes / link.bytesPerSecond) * 1e3;
  const alpha = link.secondsPerExchange * 1e3;
  const predicted = (pieces) =>
    Math.max(exchange, computeMilliseconds) +
    Math.min(exchange, computeMilliseconds) / pieces +
    2 * alpha;
  return {
    ...{ link, computeMilliseconds, exchangeMilliseconds: exchange },
    pieces: degrees.map((degree, index) => ({
      degree,
      milliseconds: results[index].milliseconds,
      predictedMilliseconds: predicted(degree),
    })),
  };
}

async function groupWise() {
  const join = { modelParallel: 2 };
  const { results } = await measure([0, 0, 1, 1], join, [{}, { groupWiseA2a: true }]);
  return { without: results[0], with: results[1], factor: results[0].bytes / results[1].bytes };
}

const link = await Link.make({ rate, delay });
try {
  const document = {
    ...{ megabitsPerSecond: rate, millisecondsEachWay: delay, tokensPerRank: tokens },
    overlap: await overlap(),
    groupWise: await groupWise(),
  };
  console.log(JSON.stringify(document, null, 2));
} finally {
  link.remove();
}
