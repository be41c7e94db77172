import { expect, test } from 'vitest';
import type { NativeFile } from '../../../src/binding/views.js';
import type { SafetensorsFile } from '../../../src/checkpoint/containers/file.js';
import { LayerTensors, type StoredTensor } from '../../../src/checkpoint/families/layer_tensors.js';

/** Two matrices of two experts, each at an odd place in the file, where they have to be copied. */
function tensorsOf(held?: ReadonlySet<number>) {
  const read: number[] = [];
  const file = {
    path: 'a file',
    read(offset: number, length: number) {
      read.push(offset);
      return new Uint8Array(length);
    },
  } as unknown as NativeFile;
  const stored = new Map<string, StoredTensor>();
  for (const [expert, byteOffset] of [9, 25].entries()) {
    const name = `mlp.experts.${expert}.up_proj.weight`;
    const entry = { name, dtype: 'F32', shape: [2, 2], byteOffset, byteLength: 16 };
    stored.set(name, { entry, file: {} as SafetensorsFile } as StoredTensor);
  }
  const tensors = new LayerTensors('layers.0.', stored, () => file, held);
  for (const name of stored.keys()) tensors.matrix(name, 2, 2);
  tensors.expectAllRead();
  return read;
}

test('experts that others hold are not read, not even where tensors must be copied', () => {
  expect(tensorsOf()).toEqual([9, 25]);
  expect(tensorsOf(new Set([1]))).toEqual([25]);
  expect(tensorsOf(new Set())).toEqual([]);
});
