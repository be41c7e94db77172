import type { MoEConfigFields } from '../config.js';
import type { NativeLayerSpec } from '../native.js';
import { ofRank } from './options.js';

/**
 * Lines `name=value` of all that describes a layer. Ranks compare them when they make it, so nothing is left out but what
 * a rank has for itself.
 *
 * @param placement the experts of each set of ranks
 */
export function factsOf(
  config: MoEConfigFields,
  { moe: ofConfigAndGroup, ...spec }: NativeLayerSpec,
  placement: readonly Int32Array[],
): string {
  const facts = { ...config, ...spec, placement: placement.map((experts) => [...experts]) };
  return Object.entries(facts)
    .filter(([name]) => !ofRank.includes(name))
    .map(([name, value]) => `${name}=${JSON.stringify(value)}\n`)
    .join('');
}
