// What a packed model weighs: what its file holds of it.
import type { MoECheckpoint } from '../../checkpoint/checkpoint.js';
import type { WeightBytes } from '../size.js';
import { ownEmbedding } from './format.js';

const routed = /\.packed\.(up|gate|down)$/;

/** Bytes of a packed model's weights, and of its embedding. */
export async function packedBytes({
  tensors,
  config,
  layers,
}: MoECheckpoint): Promise<WeightBytes & { readonly embedding: number }> {
  const bytes = { embedding: 0, experts: 0, always: 0 };
  for (const { name, byteLength } of await tensors.entries())
    if (ownEmbedding(name) !== undefined) bytes.embedding += byteLength;
    else if (routed.test(name)) bytes.experts += byteLength;
    else bytes.always += byteLength;
  const { embedding, experts, always } = bytes;
  const expert = experts / (config.expertNum * layers.length);
  return { held: experts + always, expert, always, embedding };
}
