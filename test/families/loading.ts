// Fixtures loaded through the package's own API.
import { type ForwardOptions, type LoadOptions, MoELayer } from '../../src/index.js';
import { generator } from '../support/layers.js';
import type { Fixture } from './fixture.js';
import { randomRows, V } from './random.js';
import { type Block, expertRows } from './reference/block.js';
import type { Matrix } from './reference/numbers.js';

/** A batch that is one sequence. */
export interface Batch {
  rows: Matrix;
  tokens: number[];
}

export function batchOf(seed: number, count: number): Batch {
  const next = generator(seed);
  const tokens = Array.from({ length: count }, () => Math.floor(next() * V));
  return { rows: randomRows(seed, count), tokens };
}

/** Batches in which every expert of every fixture is chosen: where it has a capacity it gets a few rows of each. */
export const batches = [1, 2, 3, 4, 5].map((seed) => batchOf(seed, 16));

export function load(folder: string, { stack }: Fixture, layer: number): Promise<MoELayer> {
  const options: LoadOptions & { stack?: string } = { layer, weightType: 'float32', threads: 1 };
  if (stack !== undefined) options.stack = stack;
  return MoELayer.load(folder, options);
}

/** What a loaded layer makes of a batch, of which it gets the rows that the family's experts see. */
export async function outputOf(
  layer: MoELayer,
  block: Block,
  { rows, tokens }: Batch,
): Promise<Float32Array> {
  const hidden = Float32Array.from(expertRows(block, rows).flat());
  const byToken = block.router.expertsOfToken !== undefined;
  const options: ForwardOptions & { tokenIds?: Int32Array } = {};
  if (byToken) options.tokenIds = Int32Array.from(tokens);
  return (await layer.forward(hidden, options)).output;
}
