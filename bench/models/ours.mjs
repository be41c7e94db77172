// node-moe as a contestant: node ours.mjs CHECKPOINT ACTIVATION-TYPE WEIGHT-TYPE THREADS
import { addon } from '../../dist/binding/addon.js';
import { MoEModel } from '../../dist/index.js';
import { cases, steps, tokensOf } from './cases.mjs';
import { serve, timed } from './serve.mjs';

const [checkpoint, activationType, weightType] = process.argv.slice(2);
const threads = Number(process.argv[5]);
const integers = weightType.startsWith('int');
const model = await MoEModel.load(checkpoint, {
  ...{ weightType, outputType: weightType, threads, kvTokens: 16384, contextLength: 12288 },
  ...(integers && { activationType }),
});

let seed = 0;
const greedy = { temperature: 0, ignoreEos: true };

async function prompt(size) {
  const tokens = tokensOf(size, ++seed);
  const start = performance.now();
  await model.complete({ ...greedy, tokens, maxTokens: 1 });
  return performance.now() - start;
}

/** From when every sequence has its first token on. */
async function sequences({ size, behind }) {
  let waiting = size;
  let start = 0;
  const runs = Array.from({ length: size }, async () => {
    const tokens = tokensOf(behind, behind > 1000 ? 0 : ++seed);
    let first = true;
    for await (const _piece of model.generate({ ...greedy, tokens, maxTokens: steps + 1 })) {
      if (first && --waiting === 0) start = performance.now();
      first = false;
    }
  });
  await Promise.all(runs);
  return performance.now() - start;
}

await serve({
  time(name, seconds) {
    const one = cases[name.replace('-', ' ')];
    return timed(
      () => (one.kind === 'prompt' ? prompt(one.size) : sequences(one)),
      Number(seconds),
    );
  },
  warm: () => prompt(16),
  async first(count) {
    const tokens = [];
    for (let i = 0; i < Number(count); i++)
      tokens.push(
        ...(await model.complete({ ...greedy, tokens: tokensOf(16, 1000 + i), maxTokens: 1 }))
          .tokens,
      );
    return { tokens };
  },
  /** Reading memory that no cache holds. */
  bandwidth: async () => addon().measureMachinePeak(threads, 0.05),
});
