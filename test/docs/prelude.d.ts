// Names that code blocks use without making them: a reader has met them in the text above. prelude.mjs gives them values.
import type * as fs from 'node:fs';
import type * as moe from 'node-moe';

declare global {
  const MoEConfig: typeof moe.MoEConfig;
  const MoELayer: typeof moe.MoELayer;
  const MoECheckpoint: typeof moe.MoECheckpoint;
  const MoEError: typeof moe.MoEError;
  const ExpertGroup: typeof moe.ExpertGroup;
  const planPlacement: typeof moe.planPlacement;
  const devices: typeof moe.devices;
  const readFileSync: typeof fs.readFileSync;
  const tokens: number;
  const rank: number;
  const address: string;
  const path: string;
  const config: moe.MoEConfig;
  const other: moe.MoEConfig;
  const layer: moe.MoELayer;
  const checkpoint: moe.MoECheckpoint;
  const hidden: Float32Array;
  /** Weights of a layer with 16 experts, hiddenSize 512 and intermediateSize 256. */
  const weights: moe.LayerWeights;
  const router: moe.Tensor;
  const gate: moe.Tensor;
  const up: moe.Tensor;
  const down: moe.Tensor;
}
