// Thousands of short requests to a small whole model, which end in every way that requests can end, while models are closed under
// them. Every request must be answered, whole answers must be the same whatever ran beside them, all blocks of the cache must come
// back, and memory must stay flat.
// usage: node --expose-gc scripts/stress-model.mjs [--requests 10000] [--max-growth 16]   (after `make build`)
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MoEModel } from '../dist/index.js';
import { serve } from '../dist/server/serve.js';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '10000' },
    'max-growth': { type: 'string', default: '16' }, // MiB of resident memory
  },
});
const rounds = 4;
const requestsOfModel = 250;
const atOnce = 48;
const checkpoint = fileURLToPath(new URL('../test/data/tiny-mixtral', import.meta.url));
const beginnings =
  'In the beginning God created the heaven and the earth. def f(x): return x + 1. ';

let state = 1;
function random(below) {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}
const tick = () => new Promise((resolve) => setImmediate(resolve));
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const enough = new Error('enough');

/** Few different ones, so that many begin alike and each comes often. */
function randomRequest() {
  const prompt = beginnings.slice(0, 1 + 13 * random(6)) + 'x'.repeat(random(3));
  const start = random(2) === 0 ? { prompt } : { tokens: Buffer.from(prompt) };
  return { ...start, maxTokens: 1 + 8 * random(4), seed: random(3), logprobs: random(2) * 3 };
}

async function readUntil(pieces, stop) {
  for await (const piece of pieces) if (stop(piece)) return 'left';
  return 'whole';
}

/** Ways of a request to end, each with the outcomes that it may have besides those of all. */
const ways = {
  whole: async (model, request, answers) => {
    const { text: answer } = await model.complete(request);
    const key = JSON.stringify({
      ...request,
      tokens: undefined,
      prompt: String(request.prompt ?? request.tokens),
    });
    answers[key] ??= answer;
    if (answers[key] !== answer) throw new Error(`${key} has another answer`);
    return 'whole';
  },
  abortedBefore: (model, request) =>
    model.complete({ ...request, signal: AbortSignal.abort(enough) }),
  abortedSometime: async (model, request) => {
    const controller = new AbortController();
    const answer = model.complete({ ...request, signal: controller.signal });
    setTimeout(() => controller.abort(enough), random(30));
    await answer;
    return 'whole';
  },
  abortedWhileItWrites: (model, request) => {
    const controller = new AbortController();
    return readUntil(model.generate({ ...request, signal: controller.signal }), () => {
      controller.abort(enough);
      return false;
    });
  },
  timedOut: async (model, request) => {
    await model.complete({ ...request, signal: AbortSignal.timeout(1 + random(20)) });
    return 'whole';
  },
  leftWhileItWrites: (model, request) => readUntil(model.generate(request), () => random(4) === 0),
  leftWhileItWaits: async (model, request) => {
    const pieces = model.generate(request);
    const first = pieces.next();
    const waits = random(2) === 0 ? tick() : Promise.resolve();
    await Promise.all([first, waits.then(() => pieces.return())]);
    return 'left';
  },
  neverRead: async (model, request) => {
    model.generate(request);
    return 'left';
  },
  tooLong: (model) => model.complete({ tokens: new Uint8Array(150), maxTokens: 60 }),
  scored: async (model, request) => {
    const signal = random(2) === 0 ? AbortSignal.timeout(1 + random(20)) : undefined;
    await model[random(2) === 0 ? 'logits' : 'logprobs'](
      Buffer.from(request.prompt ?? request.tokens),
      { signal },
    );
    return 'whole';
  },
  served: (model, request) => post(model, request, () => {}),
  streamed: (model, request) => post(model, { ...request, stream: true }, () => {}),
  servedToOneWhoLeaves: (model, request) =>
    post(model, { ...request, stream: random(2) === 0 }, (client) =>
      setTimeout(() => client.abort(enough), random(30)),
    ),
};

/** Asks the model's server; what it says instead of an answer is the outcome. */
async function post(model, { prompt, tokens, maxTokens, ...rest }, use) {
  const client = new AbortController();
  use(client);
  const body = { prompt: prompt ?? [...tokens], max_tokens: maxTokens, ...rest };
  const { status, told } = await sent(`${model.url}/v1/completions`, body, client.signal);
  if (status !== 200) return `HTTP ${status}`;
  const events = told.trimEnd().split('data: ');
  if (rest.stream ? events.at(-1) === '[DONE]' : JSON.parse(told).choices[0].finish_reason)
    return 'whole';
  return JSON.parse(events.at(-1)).error.code === 'closed' ? 'HTTP 503' : told;
}

/** A request of its own connection: `fetch` keeps something of every server that it ever asked. */
function sent(url, body, signal) {
  return new Promise((resolve, reject) => {
    const fail = (error) => reject(signal.aborted ? signal.reason : error);
    const headers = { 'content-type': 'application/json' };
    const options = { method: 'POST', agent: false, headers, signal };
    const asked = request(url, options, async (response) => {
      try {
        resolve({ status: response.statusCode, told: await text(response) });
      } catch (error) {
        fail(error);
      }
    });
    asked.on('error', fail).end(JSON.stringify(body));
  });
}

const failures = [
  'aborted',
  'TimeoutError',
  'ERR_MOE_SHAPE',
  'ERR_MOE_QUEUE_FULL',
  'ERR_MOE_CLOSED',
];
const expected = ['whole', 'left', ...failures, 'HTTP 429', 'HTTP 503'];
const outcomes = {};

async function outcomeOf(way, model, answers) {
  const outcome = await ways[way](model, randomRequest(), answers).catch((error) => {
    if (error === enough) return 'aborted';
    const name = failures.find((known) => known === error.code || known === error.name);
    if (name === undefined) throw error;
    return name;
  });
  if (!expected.includes(outcome)) throw new Error(`${way} ended with ${outcome}`);
  outcomes[way] ??= {};
  outcomes[way][outcome] = (outcomes[way][outcome] ?? 0) + 1;
}

/** Requests to one model; every second one is closed in the middle of them. */
async function useModel(index, answers) {
  const model = await MoEModel.load(checkpoint, { kvTokens: 768, maxWaiting: 8 });
  const server = await serve(model, { port: 0, drainSeconds: 10 });
  model.url = server.url;
  const running = new Set();
  const names = Object.keys(ways);
  const closes = index % 2 === 1;
  for (let i = 0; i < requestsOfModel; i++) {
    const asked = outcomeOf(names[random(names.length)], model, answers);
    running.add(asked);
    asked.finally(() => running.delete(asked)).catch(() => {});
    if (running.size >= atOnce) await Promise.race(running);
    if (random(8) === 0) await tick();
  }
  const closed = closes ? model.close() : undefined;
  await answered(running);
  if (!closes) {
    // One who left is let go behind the step that runs.
    for (let i = 0; model.inUse().running > 0 && i < 1000; i++) await pause(1);
    const { running: left, waiting, kvTokensUsed } = model.inUse();
    if (left + waiting + kvTokensUsed > 0)
      throw new Error(`left behind: ${JSON.stringify(model.inUse())}`);
  }
  await (closed ?? model.close());
  await server.close();
}

/** Waits for all of them, but not for ever. */
async function answered(requests) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${requests.size} requests have no answer`)), 60_000);
  });
  await Promise.race([Promise.all(requests), late]);
  clearTimeout(timer);
}

async function memory() {
  for (let i = 0; i < 5; i++) {
    globalThis.gc?.();
    await pause(20);
  }
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  return { rss, heapUsed, external, arrayBuffers };
}

const answers = {};
const before = { ...(await memory()) };
const models = Math.max(rounds, Math.round(Number(values.requests) / requestsOfModel));
const told = [];
for (let round = 0; round < rounds; round++) {
  for (let index = round; index < models; index += rounds)
    await useModel((index - round) / rounds, answers);
  told.push(await memory());
}
console.table(outcomes);
console.table(
  [before, ...told].map((each) =>
    Object.fromEntries(
      Object.entries(each).map(([name, bytes]) => [name, +(bytes / 2 ** 20).toFixed(2)]),
    ),
  ),
);
const growth = (name) => (told.at(-1)[name] - told[1][name]) / 2 ** 20;
const most = { rss: Number(values['max-growth']), heapUsed: 1, external: 1, arrayBuffers: 1 };
for (const [name, limit] of Object.entries(most)) {
  console.log(`${name} grew by ${growth(name).toFixed(2)} MiB of at most ${limit}`);
  if (!(growth(name) <= limit)) process.exitCode = 1;
}
