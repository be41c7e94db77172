// llama.cpp as node-llama-cpp runs it, behind the line protocol of whole models (see bench/README.md).
//
// usage: node llama_model.mjs FILE.gguf TYPE THREADS
import { getLlama } from 'node-llama-cpp';
import { cases, steps, tokensOf } from '../models/cases.mjs';
import { serve, timed } from '../models/serve.mjs';

const modelPath = process.argv[2];
const threads = Number(process.argv[4]);
const llama = await getLlama({
  ...{ build: 'never', gpu: false, logLevel: 'error', maxThreads: threads },
});
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });

/** The context of a case, with or without flash attention, and its sequences: no more than it needs. */
const contexts = new Map();
async function sequencesFor({ size, kind, behind = 0 }, flash) {
  const count = kind === 'prompt' ? 1 : size;
  const contextSize = behind > 1000 ? behind + 256 : 1024;
  const key = `${count} ${contextSize} ${flash}`;
  if (!contexts.has(key)) {
    const context = await model.createContext({
      ...{ contextSize, sequences: count, batchSize: 512, threads },
      flashAttention: flash === 'flash',
    });
    contexts.set(
      key,
      Array.from({ length: count }, () => context.getSequence()),
    );
  }
  return contexts.get(key);
}

let seed = 0;

async function prompt(one, flash) {
  const [sequence] = await sequencesFor(one, flash);
  await sequence.clearHistory();
  const start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(tokensOf(one.size, ++seed));
  return performance.now() - start;
}

/** Generates `steps` tokens in each sequence, behind what stands there once and for all. */
async function sequences(one, flash) {
  const all = await sequencesFor(one, flash);
  await Promise.all(
    all.map(async (sequence, i) => {
      const { nextTokenIndex: next } = sequence;
      if (next > one.behind)
        await sequence.eraseContextTokenRanges([{ start: one.behind, end: next }]);
      else await sequence.evaluateWithoutGeneratingNewTokens(tokensOf(one.behind, i));
    }),
  );
  const start = performance.now();
  await Promise.all(
    all.map(async (sequence, i) => {
      let left = steps;
      const options = { temperature: 0, yieldEogToken: true };
      for await (const _token of sequence.evaluate(tokensOf(1, ++seed + i), options))
        if (--left === 0) break;
    }),
  );
  return performance.now() - start;
}

await serve({
  time(name, seconds, flash) {
    const one = cases[name.replace('-', ' ')];
    return timed(
      () => (one.kind === 'prompt' ? prompt(one, flash) : sequences(one, flash)),
      Number(seconds),
    );
  },
  warm: (flash) => prompt(cases['prompt 16'], flash),
  async first(count) {
    const [sequence] = await sequencesFor(cases['prompt 16'], 'plain');
    const tokens = [];
    for (let i = 0; i < Number(count); i++) {
      await sequence.clearHistory();
      for await (const token of sequence.evaluate(tokensOf(16, 1000 + i), { temperature: 0 })) {
        tokens.push(token);
        break;
      }
    }
    return { tokens };
  },
});
