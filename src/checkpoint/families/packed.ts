import { CheckpointError } from '../../base/errors.js';
import type { Family } from './family.js';

const prefix = 'packed.';

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
    const parts = tensors.names.map((name) => ({
      name: name.slice(prefix.length),
      ...tensors.region(name),
    }));
    return { experts: [], packed: { layout: '', parts } };
  },
};
