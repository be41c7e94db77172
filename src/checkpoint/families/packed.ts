import type { LayerWeightViews } from '../../binding/views.js';
import type { LayerTensors } from './layer_tensors.js';

export const packedPrefix = 'packed.';

/** Layers that a device packed before (src/checkpoint/packed/format.ts): parts in its layout, used where they stand. */
export function packedViews(tensors: LayerTensors, layout: string): LayerWeightViews {
  const parts = tensors.names.map((name) => ({
    name: name.slice(packedPrefix.length),
    ...tensors.region(name),
  }));
  return { experts: [], packed: { layout, parts } };
}
