import { isFloat32Array, isUint16Array } from 'node:util/types';
import { describe } from '../base/checks.js';
import { ShapeError } from '../base/errors.js';
import type { ExpertView, LayerWeightViews, MatrixView, VectorView } from '../binding/views.js';
import { elementBytes, type LayerWeights, type Tensor } from './weights.js';

/** E, rows of the router, H and I of a layer, and the width of its shared expert (0 without one). */
export interface WeightSizes {
  expertNum: number;
  routerRows: number;
  hiddenSize: number;
  intermediateSize: number;
  sharedSize: number;
}

/**
 * Throws `ShapeError` unless `array` is of the kind its dtype asks for and its memory stays where it is: native code
 * borrows it while a call runs.
 */
export function expectArray(name: string, dtype: unknown, array: unknown): void {
  if (dtype !== 'float32' && dtype !== 'bfloat16' && dtype !== 'float16')
    throw new ShapeError(
      `Expected \`${name}.dtype\` to be 'float32', 'bfloat16' or 'float16', got ${describe(dtype)}`,
    );
  const [kind, fits] =
    dtype === 'float32'
      ? ['Float32Array', isFloat32Array(array)]
      : ['Uint16Array', isUint16Array(array)];
  if (!fits)
    throw new ShapeError(
      `Expected \`${name}\` to be a ${kind} for ${dtype}, got ${describe(array)}`,
    );
  expectFixedMemory(name, array as Float32Array | Uint16Array);
}

/** Throws `ShapeError` for memory that can move or vanish: resizable, growable or detached. */
export function expectFixedMemory(
  name: string,
  array: Float32Array | Uint16Array | Int32Array,
): void {
  const buffer = array.buffer as { resizable?: boolean; growable?: boolean; detached?: boolean };
  if (buffer.resizable === true || buffer.growable === true)
    throw new ShapeError(
      `Expected \`${name}\` to stand in a buffer of fixed length, got a resizable one`,
    );
  if (buffer.detached === true)
    throw new ShapeError(`Expected \`${name}\` to have its memory, got a detached buffer`);
}

/** Throws `ShapeError` unless the tensor has exactly this shape and an array that fills it. */
export function expectTensor(
  name: string,
  tensor: Tensor | undefined,
  shape: readonly number[],
): Tensor {
  const wanted = `[${shape.join(', ')}]`;
  if (tensor === undefined || tensor === null || typeof tensor !== 'object')
    throw new ShapeError(
      `Expected \`${name}\` to be a tensor of shape ${wanted}, got ${describe(tensor)}`,
    );
  // Read once: what was checked is what is used, whatever stands behind the properties.
  const { dtype, data, shape: claimed } = tensor;
  expectArray(name, dtype, data);
  const given = Array.isArray(claimed) ? claimed : [];
  if (given.length !== shape.length || given.some((size, axis) => size !== shape[axis]))
    throw new ShapeError(
      `Expected \`${name}\` to have shape ${wanted}, got [${given.map(sizeText).join(', ')}]`,
    );
  const count = shape.reduce((product, size) => product * size, 1);
  if (data.length !== count)
    throw new ShapeError(
      `Expected \`${name}\` of shape ${wanted} to hold ${count} values, got ${data.length}`,
    );
  return { dtype, shape, data };
}

const sizeText = (size: unknown): string => (typeof size === 'number' ? `${size}` : describe(size));

/**
 * Where each matrix of dense weights stands.
 *
 * @throws `ShapeError` naming the first tensor that is missing, unexpected, or of a wrong shape or type
 */
export function viewsOf(
  weights: LayerWeights,
  sizes: WeightSizes,
  gated: boolean,
): LayerWeightViews {
  const { expertNum: E, routerRows: R, hiddenSize: H, intermediateSize: I, sharedSize: S } = sizes;
  if (!gated && (weights.gate !== undefined || weights.gateBias !== undefined))
    throw new ShapeError('Expected no `weights.gate`: the activation has no gate');
  const gate = gated ? expectTensor('weights.gate', weights.gate, [E, I, H]) : undefined;
  const up = expectTensor('weights.up', weights.up, [E, I, H]);
  const down = expectTensor('weights.down', weights.down, [E, H, I]);
  for (const [name, tensor] of [
    ['gate', gate],
    ['down', down],
  ] as const)
    if (tensor !== undefined && tensor.dtype !== up.dtype)
      throw new ShapeError(
        `Expected \`weights.${name}\` to be ${up.dtype} like \`weights.up\`, got ${tensor.dtype}`,
      );
  const bias = (name: 'gateBias' | 'upBias' | 'downBias', width: number) => {
    const tensor = weights[name];
    return tensor === undefined ? undefined : expectTensor(`weights.${name}`, tensor, [E, width]);
  };
  const [gateBias, upBias, downBias] = [
    bias('gateBias', I),
    bias('upBias', I),
    bias('downBias', H),
  ];

  const experts = Array.from(
    { length: E },
    (_, expert): ExpertView => ({
      ...(gate && { gate: matrixOf(gate, I, H, expert) }),
      up: matrixOf(up, I, H, expert),
      down: matrixOf(down, H, I, expert),
      ...(gateBias && { gateBias: vectorOf(gateBias, I, expert) }),
      ...(upBias && { upBias: vectorOf(upBias, I, expert) }),
      ...(downBias && { downBias: vectorOf(downBias, H, expert) }),
    }),
  );
  const vector = (name: 'routerBias' | 'routerCorrectionBias' | 'expertScale', size: number) => {
    const tensor = weights[name];
    if (tensor === undefined) return {};
    return { [name]: vectorOf(expectTensor(`weights.${name}`, tensor, [size]), size, 0) };
  };
  return {
    ...((R > 1 || weights.router !== undefined) && {
      router: matrixOf(expectTensor('weights.router', weights.router, [R, H]), R, H, 0),
    }),
    ...vector('routerBias', R),
    ...vector('routerCorrectionBias', R),
    ...vector('expertScale', E),
    experts,
    ...sharedViews(weights.shared, S, H, gated),
  };
}

function sharedViews(
  shared: LayerWeights['shared'],
  S: number,
  H: number,
  gated: boolean,
): Pick<LayerWeightViews, 'shared' | 'sharedRouter'> {
  if (shared === undefined) return {};
  const tensor = (name: 'gate' | 'up' | 'down' | 'router', rows: number, columns: number) =>
    matrixOf(
      expectTensor(`weights.shared.${name}`, shared[name], [rows, columns]),
      rows,
      columns,
      0,
    );
  if (!gated && shared.gate !== undefined)
    throw new ShapeError('Expected no `weights.shared.gate`: the activation has no gate');
  return {
    shared: {
      ...(gated && { gate: tensor('gate', S, H) }),
      up: tensor('up', S, H),
      down: tensor('down', H, S),
    },
    ...(shared.router !== undefined && { sharedRouter: tensor('router', 1, H) }),
  };
}

/** Matrix `index` of a tensor of consecutive row-major matrices. */
function matrixOf(
  tensor: Tensor,
  outFeatures: number,
  inFeatures: number,
  index: number,
): MatrixView {
  const byteOffset = index * outFeatures * inFeatures * elementBytes[tensor.dtype];
  const { data: source, dtype } = tensor;
  return { source, byteOffset, dtype, outFeatures, inFeatures, outStride: inFeatures, inStride: 1 };
}

function vectorOf(tensor: Tensor, size: number, index: number): VectorView {
  const byteOffset = index * size * elementBytes[tensor.dtype];
  return { source: tensor.data, byteOffset, dtype: tensor.dtype, size, stride: 1 };
}
