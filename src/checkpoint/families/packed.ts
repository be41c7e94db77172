import type { LayerViews } from '../../binding/views.js';
import type { LayerTensors } from './layer_tensors.js';

export const packedPrefix = 'packed.';

/** The tensor that holds a part of a packed layer. */
export const packedTensor = (layer: number, part: string): string =>
  `layers.${layer}.${packedPrefix}${part}`;

/** The part that no device packs: the layer's `expertTable`, int32, little-endian. */
export const tablePart = 'expert_table';

/** Layers that a device packed before (src/checkpoint/packed/format.ts): parts in its layout, used where they stand. */
export function packedViews(tensors: LayerTensors, layout: string): LayerViews {
  const table = packedPrefix + tablePart;
  const parts = tensors.names
    .filter((name) => name !== table)
    .map((name) => ({ name: name.slice(packedPrefix.length), ...tensors.region(name) }));
  const views: LayerViews = { experts: [], packed: { layout, parts } };
  if (tensors.has(table)) {
    const { source, byteOffset, byteLength } = tensors.region(table);
    views.expertTable = new Int32Array(Uint8Array.from(source.read(byteOffset, byteLength)).buffer);
  }
  return views;
}
