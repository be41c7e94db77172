// llama.cpp as a witness: the logits of every position, in a process of its own, because it ends its process where it fails.
// Arguments: the folder of its libraries and the model. Tokens come on stdin as JSON; so do logits on stdout, a row each.
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const [, , libraries, modelPath] = process.argv;
const tokens = JSON.parse(await text(process.stdin));
const llama = createRequire(import.meta.url)(`${libraries}/llama-addon.node`);
llama.setLogger((_, message) => process.stderr.write(message));
llama.setLoggerLogLevel(3);
llama.loadBackends(libraries);
await llama.init();
const model = new llama.AddonModel(modelPath, { addonExports: llama, gpuLayers: 0 });
if (!(await model.init())) throw new Error(`Expected llama.cpp to load ${modelPath}`);
const float32 = llama.getGgmlType('F32');
const context = new llama.AddonContext(model, {
  ...{ contextSize: 256, batchSize: 256, sequences: 1, threads: 1 },
  // Keys and values as they are, and attention in float32.
  ...{ flashAttention: false, kvCacheKeyType: float32, kvCacheValueType: float32 },
});
if (!(await context.init())) throw new Error('Expected llama.cpp to make a context');
context.initBatch(tokens.length);
const positions = context.addToBatch(
  ...[0, 0, Uint32Array.from(tokens)],
  Uint32Array.from(tokens, (_, i) => i),
);
await context.decodeBatch();
const sampler = new llama.AddonSampler(model);
sampler.applyConfig({ temperature: 0 });
const rows = [];
for (const position of positions) {
  const [, , , pairs] = await context.sampleToken(position, sampler, false, false, true);
  const row = [];
  for (let i = 0; i < pairs.length; i += 2) row[pairs[i]] = pairs[i + 1];
  rows.push(row);
}
process.stdout.write(JSON.stringify(rows), () => process.exit(0));
