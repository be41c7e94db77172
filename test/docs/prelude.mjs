// Values of what prelude.d.ts declares. The working folder has the checkpoint.
import * as fs from 'node:fs';
import * as moe from 'node-moe';

const tensor = (...shape) => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i) / 8),
});
const [E, H, I] = [16, 512, 256];
const weights = {
  router: tensor(E, H),
  gate: tensor(E, I, H),
  up: tensor(E, I, H),
  down: tensor(E, H, I),
};
const checkpoint = await moe.MoECheckpoint.open('CHECKPOINT');
const layer = await checkpoint.load(0);
const config = new moe.MoEConfig({ expertNum: 16, numExpertsChosen: 4, capacityFactor: 1.25 });
const tokens = 8;
const hidden = Float32Array.from({ length: tokens * layer.hiddenSize }, (_, i) => Math.cos(i));
const { readFileSync } = fs;
Object.assign(globalThis, moe, {
  readFileSync,
  tokens,
  config,
  other: config,
  layer,
  checkpoint,
  hidden,
  weights,
  ...weights,
});
