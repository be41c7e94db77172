import { CheckpointError } from '../errors.js';
import type { Family } from './family.js';
import { gptOss } from './gpt_oss.js';
import { granitemoe } from './granitemoe.js';
import { mayBeFeedForward } from './layer_parts.js';
import { mindformers } from './mindformers.js';
import { mixtral } from './mixtral.js';
import { packed } from './packed.js';
import { projections } from './projections.js';

const families: readonly Family[] = [mixtral, projections, gptOss, granitemoe, mindformers, packed];

/** `model.layers.3.mlp.gate.weight`: what stands before the layers, the layer's number, the name inside the layer. */
const layerName = /^(.*?)(?:layers|blocks)\.(0|[1-9]\d{0,5})\.(.+)$/;

/** One MoE layer's tensors. */
export interface FoundLayer {
  /** What their names begin with: `model.layers.3.` */
  prefix: string;
  /** Their names behind the prefix; those that may be of the feed-forward part only. */
  names: string[];
}

export interface FoundLayers {
  family: Family;
  /** By number, ascending. */
  layers: ReadonlyMap<number, FoundLayer>;
}

/**
 * Finds the MoE layers among a checkpoint's tensor names: a layer is one when it has a router.
 *
 * @param path the checkpoint, for messages
 */
export function findLayers(path: string, names: Iterable<string>): FoundLayers {
  const stacks = stacksOf(names);
  const found = [...stacks.entries()].flatMap(([root, stack]) =>
    families
      .map((family) => ({ root, family, layers: layersOf(family, stack) }))
      .filter(({ layers }) => layers.size > 0),
  );
  const preferred = found.filter(({ root }) => root === 'model.');
  const [chosen, other] = preferred.length > 0 ? preferred : found;
  if (chosen !== undefined && other === undefined) return chosen;
  const routers = families.flatMap((family) => family.routers).join(', ');
  if (found.length === 0)
    throw new CheckpointError(
      `Expected ${path} to hold layers with a router (${routers}), got none`,
    );
  const several = found.map(({ root, family }) => `"${root}" (${family.name})`).join(', ');
  throw new CheckpointError(`Expected ${path} to hold one stack of MoE layers, got ${several}`);
}

/** Layer numbers and the layers' tensor names, by what stands before them in the name. */
function stacksOf(names: Iterable<string>): Map<string, Map<number, FoundLayer>> {
  const stacks = new Map<string, Map<number, FoundLayer>>();
  for (const name of names) {
    const [, root, number, local] = layerName.exec(name) ?? [];
    if (root === undefined || number === undefined || local === undefined) continue;
    const stack = stacks.get(root) ?? new Map<number, FoundLayer>();
    stacks.set(root, stack);
    const layer = stack.get(Number(number)) ?? { prefix: name.slice(0, -local.length), names: [] };
    stack.set(Number(number), layer);
    layer.names.push(local);
  }
  return stacks;
}

/** The layers of a stack that have one of a family's routers, each cut down to its feed-forward part. */
function layersOf(family: Family, stack: ReadonlyMap<number, FoundLayer>): Map<number, FoundLayer> {
  const layers = new Map<number, FoundLayer>();
  for (const number of [...stack.keys()].sort((a, b) => a - b)) {
    const { prefix, names } = stack.get(number) as FoundLayer;
    if (names.some((name) => family.routers.includes(name)))
      layers.set(number, { prefix, names: names.filter(mayBeFeedForward) });
  }
  return layers;
}
