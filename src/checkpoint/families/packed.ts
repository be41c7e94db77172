import { CheckpointError } from '../../base/errors.js';
import type { LayerViews } from '../../binding/views.js';
import type { Family } from './family.js';

const prefix = 'packed.';

/** The part that no device packs: the layer's `expertTable`, int32, little-endian. */
export const tablePart = 'expert_table';

/** Layers that a device packed before (src/checkpoint/packed/format.ts): parts in its layout, used where they stand. */
export const packed: Family = {
  name: 'packed by node-moe',
  routers: [`${prefix}up`],

  measure() {
    throw new CheckpointError(
      'Expected a packed checkpoint to say what its layers are, got no such metadata: pack it again',
    );
  },

  views(tensors) {
    const table = prefix + tablePart;
    const parts = tensors.names
      .filter((name) => name !== table)
      .map((name) => ({ name: name.slice(prefix.length), ...tensors.region(name) }));
    const views: LayerViews = { experts: [], packed: { layout: '', parts } };
    if (tensors.has(table)) {
      const { source, byteOffset, byteLength } = tensors.region(table);
      views.expertTable = new Int32Array(
        Uint8Array.from(source.read(byteOffset, byteLength)).buffer,
      );
    }
    return views;
  },
};
