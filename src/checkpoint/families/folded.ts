// Small tensors whose numbers are read when a layer is loaded.
import { CheckpointError } from '../../base/errors.js';
import type { MatrixView, VectorView } from '../../binding/views.js';
import type { Layout, MatrixAt } from '../../families/layout.js';
import { floatValues } from '../../layer/float_values.js';
import { elementBytes } from '../../layer/weights.js';
import type { LayerTensors } from './layer_tensors.js';
import { tensorOf } from './matrices.js';

/** The numbers of a tensor of floats. */
export function numbersOf(tensors: LayerTensors, name: string, ...shape: number[]): Float32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  return floatsOf(tensors.block(name, ...shape).vector({ size }));
}

function floatsOf({ source, byteOffset, dtype, size }: VectorView): Float32Array {
  const data = ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset + byteOffset, size * elementBytes[dtype])
    : source.read(byteOffset, size * elementBytes[dtype]);
  const { buffer } = Uint8Array.from(data);
  const elements = dtype === 'float32' ? new Float32Array(buffer) : new Uint16Array(buffer);
  return floatValues({ dtype, shape: [size], data: elements });
}

/** `[V, columns]` of 64-bit integers, as experts are numbered. */
export function intsOf(tensors: LayerTensors, name: string, columns: number): Int32Array {
  const [rows] = tensors.shape(name, 2) as [number, number];
  const { source, byteOffset, byteLength } = tensors.region(name);
  if (!tensors.hasShape(name, rows, columns) || byteLength !== rows * columns * 8)
    throw tensors.error(
      name,
      `type I64 and ${columns} columns`,
      `${byteLength} bytes, ${rows} rows`,
    );
  const { buffer } = Uint8Array.from(source.read(byteOffset, byteLength));
  return Int32Array.from(new BigInt64Array(buffer), Number);
}

/**
 * The router as it would be on the experts' row. Both rows are one normed row times a vector: the router's `scale`, divided
 * by the square root of H, and the weight of the experts' norm.
 */
export function foldedRouter(
  tensors: LayerTensors,
  router: MatrixAt,
  { scale: scaleName, norm }: NonNullable<Layout['routerRow']>,
  rows: number,
  hiddenSize: number,
): MatrixView {
  const sizes = { count: 1, outFeatures: rows, inFeatures: hiddenSize };
  const { name, shape } = tensorOf(router, sizes);
  const weights = numbersOf(tensors, name, ...shape);
  const scale = numbersOf(tensors, scaleName, hiddenSize);
  const seen = numbersOf(tensors, norm, hiddenSize);
  const zero = seen.indexOf(0);
  if (zero >= 0)
    throw tensors.error(
      norm,
      "no 0, because the router's row is made from the experts' by dividing by it",
      `0 at ${zero}`,
    );
  const root = Math.sqrt(hiddenSize);
  const source = weights.map((weight, at) => {
    const feature = at % hiddenSize;
    return (weight * (scale[feature] as number)) / (root * (seen[feature] as number));
  });
  if (!source.every(Number.isFinite))
    throw new CheckpointError(`Expected ${name} to be finite once ${norm} is folded into it`);
  return {
    ...{ source, byteOffset: 0, dtype: 'float32' },
    ...{ outFeatures: rows, inFeatures: hiddenSize, outStride: hiddenSize, inStride: 1 },
  };
}
