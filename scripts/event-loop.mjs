// How late the event loop is while a whole model works: sequences that decode, and long prompts one after another. What is told is
// the time between ticks of a timer of one millisecond; beside it, that of an idle process on the same machine.
// usage: node scripts/event-loop.mjs CHECKPOINT [--weight-type int4] [--sequences 16] [--prompt 4096] [--logprobs 20] [--seconds 20]
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { MoEModel } from '../dist/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'weight-type': { type: 'string', default: 'int4' },
    sequences: { type: 'string', default: '16' },
    prompt: { type: 'string', default: '4096' },
    logprobs: { type: 'string' },
    seconds: { type: 'string', default: '20' },
  },
});
const seconds = Number(values.seconds);
const logprobs = values.logprobs && { logprobs: Number(values.logprobs) };

async function lateness() {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const before = performance.eventLoopUtilization();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  delay.disable();
  const milliseconds = (nanoseconds) => +(nanoseconds / 1e6).toFixed(2);
  const [p50, p99, p999] = [50, 99, 99.9].map((part) => milliseconds(delay.percentile(part)));
  const busy = +(100 * performance.eventLoopUtilization(before).utilization).toFixed(2);
  return {
    'p50 ms': p50,
    'p99 ms': p99,
    'p99.9 ms': p999,
    'most ms': milliseconds(delay.max),
    'busy %': busy,
  };
}

const told = { idle: await lateness() };
const model = await MoEModel.load(positionals[0], {
  weightType: values['weight-type'],
  kvTokens: 3 * Number(values.prompt) + 512 * Number(values.sequences),
});
const end = new AbortController();
let [tokens, prompts, seed] = [0, 0, 0];

/** Answers one after another, until the end. */
async function ask(length, maxTokens) {
  try {
    for (;;) {
      const prompt = Array.from({ length }, (_, i) => (i * 31 + 977 * seed) % model.vocabularySize);
      const options = { tokens: prompt, maxTokens, seed: seed++, ignoreEos: true, ...logprobs };
      for await (const piece of model.generate({ ...options, signal: end.signal }))
        tokens += piece.tokens.length;
      prompts += 1;
    }
  } catch (error) {
    if (!end.signal.aborted) throw error;
  }
}
const asked = Array.from({ length: Number(values.sequences) }, () =>
  ask(32, Math.min(480, model.contextLength - 32)),
);
asked.push(ask(Number(values.prompt), 1));
told['while the model works'] = await lateness();
end.abort();
await Promise.all(asked);
await model.close();
console.table(told);
console.log(`${tokens} tokens written, ${prompts} answers ended in ${seconds} s`);
