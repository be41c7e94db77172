import { expect, test } from 'vitest';
import type { NativeFile } from '../../../src/binding/views.js';
import type { SafetensorsFile } from '../../../src/checkpoint/containers/file.js';
import { foldedRouter, intsOf } from '../../../src/checkpoint/families/folded.js';
import { LayerTensors, type StoredTensor } from '../../../src/checkpoint/families/layer_tensors.js';

/** Tensors of a file of float32 numbers, or of 64-bit integers. */
function tensorsOf(all: Record<string, { shape: number[]; data: Float32Array | BigInt64Array }>) {
  const bytes: number[] = [];
  const stored = new Map<string, StoredTensor>();
  for (const [name, { shape, data }] of Object.entries(all)) {
    const dtype = data instanceof Float32Array ? 'F32' : 'I64';
    const entry = { name, dtype, shape, byteOffset: bytes.length, byteLength: data.byteLength };
    stored.set(name, { entry, file: { path: 'a file' } as SafetensorsFile } as StoredTensor);
    bytes.push(...new Uint8Array(data.buffer));
  }
  const read = (from: number, length: number) => Uint8Array.from(bytes.slice(from, from + length));
  const file: NativeFile = { read, close() {} };
  return new LayerTensors('layers.0.', stored, () => file);
}

const names = { scale: 'router.scale', norm: 'norm.weight' };
const router = { name: 'router.proj.weight', axes: 'oi' } as const;
const gemma = (norm: number[]) =>
  tensorsOf({
    [router.name]: { shape: [2, 4], data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
    [names.scale]: { shape: [4], data: Float32Array.of(2, 2, 4, 4) },
    [names.norm]: { shape: [4], data: Float32Array.from(norm) },
  });

test('a router on another row is one on the experts’ row', () => {
  const view = foldedRouter(gemma([1, 2, 4, 8]), router, names, 2, 4);
  expect(view).toMatchObject({ outFeatures: 2, inFeatures: 4, outStride: 4, inStride: 1 });
  // weight * scale / (sqrt(4) * norm)
  expect(view.source).toEqual(Float32Array.of(1, 1, 1.5, 1, 5, 3, 3.5, 2));
});

test('not where the experts’ row has lost what the router sees', () => {
  expect(() => foldedRouter(gemma([1, 0, 4, 8]), router, names, 2, 4)).toThrow(
    /"norm\.weight".*to have no 0, .*, got 0 at 1/,
  );
});

test('a table of experts is read as it stands', () => {
  const table = { shape: [3, 2], data: BigInt64Array.of(0n, 3n, 1n, 2n, 5n, 4n) };
  const tensors = tensorsOf({ tid2eid: table });
  expect(intsOf(tensors, 'tid2eid', 2)).toEqual(Int32Array.of(0, 3, 1, 2, 5, 4));
  expect(() => intsOf(tensors, 'tid2eid', 3)).toThrow(/"tid2eid".*3 columns/);
});
