// What users write first, in every way that they can write it. Each program prints `ok` when the layer is right.

/** A layer of 4 experts of which each token takes 2; every expert doubles its input, so the weighted sum does, too. */
const body = `
const [E, K, H] = [4, 2, 2];
const tensor = (shape, value) => ({ dtype: 'float32', shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => value(i)) });
const identity = (i) => (i % 4 === 0 || i % 4 === 3 ? 1 : 0);
const layer = await MoELayer.create({
  config: { expertNum: E, numExpertsChosen: K, routingPolicy: 'TopkRouterV2', capacityFactor: -1 },
  hiddenSize: H, intermediateSize: H, activation: 'relu', device: 'cpu',
  weights: { router: tensor([E, H], (i) => i / 8), up: tensor([E, H, H], identity),
    down: tensor([E, H, H], (i) => 2 * identity(i)) } });
const { output, expertLoad } = await layer.forward(new Float32Array([1, 2, 3, 4]));
const error = Math.max(...Array.from(output, (value, i) => Math.abs(value - 2 * (i + 1))));
const load = expertLoad.reduce((a, b) => a + b);
await layer.close();
if (!(error <= 1e-6) || load !== 4) throw new Error('wrong result ' + output + ', load ' + load);
if (!devices().some(({ name, available }) => name === 'cpu' && available)) throw new Error('no cpu');
`;

export const esm = `import { MoELayer, devices } from 'node-moe';
${body}
console.log('ok');`;

export const commonJs = `const { MoELayer, devices } = require('node-moe');
(async () => {
${body}
console.log('ok');
})().catch((error) => { console.error(error); process.exit(1); });`;

export const workers = `import { Worker, isMainThread, parentPort } from 'node:worker_threads';
if (isMainThread) {
  const run = () => new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url));
    worker.on('message', resolve);
    worker.on('error', reject);
  });
  const answers = await Promise.all(Array.from({ length: 4 }, run));
  console.log(answers.every((answer) => answer === 'done') ? 'ok' : answers);
} else {
  const { MoELayer, devices } = await import('node-moe');
  ${body}
  parentPort.postMessage('done');
}`;

/** Loads a checkpoint, here and in a worker, and prints the digest of what both compute. */
export const checkpoint = `import { createHash } from 'node:crypto';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { MoELayer } from 'node-moe';
async function digest(path) {
  const layer = await MoELayer.load(path, { layer: 0, device: 'cpu' });
  const hidden = Float32Array.from({ length: 8 * layer.hiddenSize }, (_, i) => Math.fround((i % 17) - 8));
  const { output } = await layer.forward(hidden);
  await layer.close();
  return createHash('sha256').update(new Uint8Array(output.buffer)).digest('hex');
}
if (isMainThread) {
  const here = await digest(process.argv[2]);
  const there = await new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: process.argv[2] });
    worker.on('message', resolve);
    worker.on('error', reject);
  });
  console.log(here === there ? here : here + ' is not ' + there);
} else parentPort.postMessage(await digest(workerData));`;

export const disposal = `import { MoEConfig, MoEError, MoELayer, devices } from 'node-moe';
${body}
const config = MoEConfig.parse('moe_config:\\n  expert_num: 4');
try { new MoEConfig({ expertNum: 0 }); } catch (error) {
  if (error instanceof MoEError && error.code === 'ERR_MOE_CONFIG' && config.expertNum === 4) console.log('ok');
}`;

/** Uses the types: a wrong one is an error where it is marked, and nowhere else. */
export const typed = `import { serve, type ServeOptions } from 'node-moe/server';
import { type ForwardResult, MoEConfig, MoELayer, type Tensor, devices } from 'node-moe';
const router: Tensor = { dtype: 'float32', shape: [1, 2], data: new Float32Array(2) };
export async function use(layer: MoELayer): Promise<number> {
  const result: ForwardResult = await layer.forward(new Float32Array(2), { routing: true });
  return result.expertLoad[0]! + devices().length + new MoEConfig({ expertNum: 2 }).expertNum + router.shape.length;
}
// @ts-expect-error: a misspelt option
new MoEConfig({ expertNumber: 2 });
const serving: ServeOptions = { port: 0, metricsPrefix: 'vllm:' };
export const server = (model: Parameters<typeof serve>[0]) => serve(model, serving);
// @ts-expect-error: a misspelt option
export const wrong = (model: Parameters<typeof serve>[0]) => serve(model, { prot: 0 });
// @ts-expect-error: no such device
void MoELayer.load('x', { device: 'gpu' });
`;

/** Two processes share the experts; each prints `ok` when its tokens come out as they do alone. */
export const ranks = `import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ExpertGroup, MoELayer } from 'node-moe';
const [rank, folder] = process.argv.slice(2);
if (rank === undefined) {
  const store = mkdtempSync(join(tmpdir(), 'node-moe-ranks-'));
  const run = (rank) => new Promise((resolve) => {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), rank, store], { stdio: 'inherit' });
    child.on('exit', resolve);
  });
  const codes = await Promise.all([run('0'), run('1')]);
  rmSync(store, { recursive: true });
  console.log(codes.every((code) => code === 0) ? 'ok' : codes);
} else {
  const tensor = (shape) => ({ dtype: 'float32', shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i)) });
  const options = { config: { expertNum: 4, numExpertsChosen: 2, routingPolicy: 'TopkRouterV2', capacityFactor: -1 },
    hiddenSize: 8, intermediateSize: 4, device: 'cpu',
    weights: { router: tensor([4, 8]), gate: tensor([4, 4, 8]), up: tensor([4, 4, 8]), down: tensor([4, 8, 4]) } };
  const hidden = Float32Array.from({ length: 24 }, (_, i) => Math.cos(i + 100 * Number(rank)));
  const group = await ExpertGroup.join({ rank: Number(rank), size: 2, store: 'file://' + folder, address: '127.0.0.1' });
  const together = await MoELayer.create({ ...options, group });
  const alone = await MoELayer.create(options);
  const [a, b] = [await together.forward(hidden), await alone.forward(hidden)];
  const same = Buffer.compare(Buffer.from(a.output.buffer), Buffer.from(b.output.buffer)) === 0;
  await together.close();
  await alone.close();
  await group.close();
  process.exitCode = same ? 0 : 1;
}`;
