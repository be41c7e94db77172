import type { ExpertView, MatrixView, VectorView } from '../../binding/views.js';
import type { ExpertsAt, MatrixAt, Part, VectorAt } from '../../families/layout.js';
import type { LayerTensors } from './layer_tensors.js';

/** Sizes of some experts. */
export interface ExpertSizes {
  /** How many stand together. */
  readonly count: number;
  /** Features of the rows that they read and write. */
  readonly features: number;
  readonly width: number;
}

/** MXFP4: so many elements share a scale. */
const mxfp4Block = 32;

/** The name of an expert's tensor. */
export const nameOf = (name: string, expert: number, count: number): string =>
  name.replace('{e}', String(expert)).replace('{e+E}', String(expert + count));

/** Name and shape of the tensor that a matrix of an expert stands in. */
export function tensorOf(
  at: MatrixAt,
  { count, outFeatures, inFeatures }: { count: number; outFeatures: number; inFeatures: number },
): { name: string; shape: readonly number[] } {
  const rows = at.part === undefined ? outFeatures : 2 * outFeatures;
  if (at.mxfp4)
    return {
      name: `${at.name}_blocks`,
      shape: [count, rows, inFeatures / mxfp4Block, mxfp4Block / 2],
    };
  const shapes: Record<MatrixAt['axes'], readonly number[]> = {
    oi: [rows, inFeatures],
    io: [inFeatures, rows],
    eoi: [count, rows, inFeatures],
    eio: [count, inFeatures, rows],
    '(eo)i': [count * rows, inFeatures],
    '(ei)o': [count * inFeatures, rows],
  };
  return { name: nameOf(at.name, 0, count), shape: shapes[at.axes] };
}

/** The width of experts, as the tensor of their second product says it. */
export function widthAt(tensors: LayerTensors, { name, axes, mxfp4 }: MatrixAt, count: number) {
  if (mxfp4) return mxfp4Block * (tensors.shape(`${name}_scales`, 3)[2] as number);
  const axis = axes.replace(/[()]/g, '').indexOf('i');
  const stored = nameOf(name, 0, count);
  if (axes === '(ei)o') return (tensors.shape(stored, 2)[0] as number) / count;
  if (axes === '(eo)i') return tensors.shape(stored, 2)[1] as number;
  return tensors.shape(stored, axes.length)[axis] as number;
}

/** Where the first of a part's features stands among all, and the distance to the next. */
function startOf(part: Part | undefined, size: number): [first: number, step: number] {
  if (part === 'second half') return [size, 1];
  if (part === 'even' || part === 'odd') return [part === 'odd' ? 1 : 0, 2];
  return [0, 1];
}

/** Views of one matrix of each of `count` experts. */
export function matricesAt(
  tensors: LayerTensors,
  at: MatrixAt,
  count: number,
  outFeatures: number,
  inFeatures: number,
): (expert: number) => MatrixView {
  const sizes = { count, outFeatures, inFeatures };
  if (at.mxfp4) return mxfp4At(tensors, at, sizes);
  const ofOne = at.axes === 'oi' || at.axes === 'io';
  const [first, step] = startOf(at.part, outFeatures);
  const { shape } = tensorOf(at, sizes);
  const rows = at.part === undefined ? outFeatures : 2 * outFeatures;
  if (at.axes.endsWith('oi') && step === 1) {
    const matrixOf = (expert: number) =>
      tensors.matrix(nameOf(at.name, expert, count), rows, inFeatures, ofOne ? undefined : count);
    return partsOf(matrixOf, ofOne, { outFeatures, rows, first });
  }
  const inputsLast = at.axes.endsWith('i');
  const one = inputsLast
    ? { outStride: step * inFeatures, inStride: 1 }
    : { outStride: step, inStride: rows };
  const start = inputsLast ? first * inFeatures : first;
  const blockOf = (expert: number) => tensors.block(nameOf(at.name, expert, count), ...shape);
  const whole = ofOne ? undefined : blockOf(0);
  return (expert) =>
    (whole ?? blockOf(expert)).matrix({
      ...{ outFeatures, inFeatures, ...one },
      first: (ofOne ? 0 : expert * rows * inFeatures) + start,
    });
}

/** Output features of each expert's matrix, from `first` on; the matrix is its own, or that of all experts. */
function partsOf(
  matrixOf: (expert: number) => MatrixView,
  ofOne: boolean,
  { outFeatures, rows, first }: { outFeatures: number; rows: number; first: number },
): (expert: number) => MatrixView {
  const all = ofOne ? undefined : matrixOf(0);
  return (expert) => {
    const firstOut = (ofOne ? 0 : expert * rows) + first;
    return { ...(all ?? matrixOf(expert)), outFeatures, ...(firstOut > 0 && { firstOut }) };
  };
}

/** Blocks of 32 inputs in 16 bytes, and the exponent of each block's scale. */
function mxfp4At(
  tensors: LayerTensors,
  { name, part }: MatrixAt,
  { count, outFeatures, inFeatures }: { count: number; outFeatures: number; inFeatures: number },
): (expert: number) => MatrixView {
  const blocks = inFeatures / mxfp4Block;
  const rows = part === undefined ? outFeatures : 2 * outFeatures;
  const shape = [count, rows, blocks] as const;
  const elements = tensors.typed(`${name}_blocks`, { U8: 'float4_e2m1' }, ...shape, mxfp4Block / 2);
  const scales = tensors.typed(`${name}_scales`, { U8: 'float8_e8m0' }, ...shape);
  const [first, step] = startOf(part, outFeatures);
  return (expert) => {
    const row = expert * rows + first;
    return {
      ...elements.matrix({
        ...{ outFeatures, inFeatures, outStride: step * inFeatures },
        first: row * inFeatures,
      }),
      scales: scales.scales({
        ...{ outBlock: 1, inBlock: mxfp4Block, outStride: step * blocks },
        first: row * blocks,
      }),
    };
  };
}

/** A vector of each expert: a tensor of its own, or a row of one. */
function vectorsAt(
  tensors: LayerTensors,
  { name, part }: VectorAt,
  count: number,
  size: number,
): (expert: number) => VectorView {
  if (name.includes('{e')) return (expert) => tensors.vector(nameOf(name, expert, count), size);
  const all = part === undefined ? size : 2 * size;
  const [first, stride] = startOf(part, size);
  const block = tensors.block(name, count, all);
  return (expert) => block.vector({ size, first: expert * all + first, stride });
}

/** Views of every one of some experts. */
export function expertsAt(
  tensors: LayerTensors,
  at: ExpertsAt,
  { count, features, width }: ExpertSizes,
): ExpertView[] {
  const parts = [
    ['gate', at.gate && matricesAt(tensors, at.gate, count, width, features)],
    ['up', matricesAt(tensors, at.up, count, width, features)],
    ['down', matricesAt(tensors, at.down, count, features, width)],
    ['gateBias', at.gateBias && vectorsAt(tensors, at.gateBias, count, width)],
    ['upBias', at.upBias && vectorsAt(tensors, at.upBias, count, width)],
    ['downBias', at.downBias && vectorsAt(tensors, at.downBias, count, features)],
  ] as const;
  return Array.from(
    { length: count },
    (_, expert) =>
      Object.fromEntries(
        parts.flatMap(([name, viewOf]) => (viewOf === undefined ? [] : [[name, viewOf(expert)]])),
      ) as unknown as ExpertView,
  );
}

/**
 * The first way of storing experts whose tensors are there, and are of the right shape where several are.
 *
 * @throws `CheckpointError` where shapes do not tell which it is
 */
export function chosenAt(
  tensors: LayerTensors,
  ways: readonly ExpertsAt[],
  sizes: ExpertSizes,
): ExpertsAt {
  const there = ways.filter((at) => isThere(tensors, at, sizes.count));
  const [first, second] = there;
  if (first === undefined || second === undefined) return first ?? (ways[0] as ExpertsAt);
  const [fitting, other] = there.filter((at) => fits(tensors, at, sizes));
  if (fitting !== undefined && other !== undefined)
    throw tensors.error(
      tensorOf(fitting.up, { count: sizes.count, outFeatures: 0, inFeatures: 0 }).name,
      'a hidden size other than its intermediate size, because experts are stored either way round and only the shape ' +
        'tells which',
      `${sizes.width} for both`,
    );
  return fitting ?? first;
}

const matricesOf = ({ gate, up, down }: ExpertsAt, { count, features, width }: ExpertSizes) =>
  [
    { at: gate, outFeatures: width, inFeatures: features },
    { at: up, outFeatures: width, inFeatures: features },
    { at: down, outFeatures: features, inFeatures: width },
  ].flatMap(({ at, ...size }) => (at === undefined ? [] : [tensorOf(at, { count, ...size })]));

const isThere = (tensors: LayerTensors, at: ExpertsAt, count: number): boolean =>
  matricesOf(at, { count, features: 0, width: 0 }).some(({ name }) => tensors.has(name));

/** Whether the first expert's tensors have the shapes that sizes ask for. */
export function fits(tensors: LayerTensors, at: ExpertsAt, sizes: ExpertSizes): boolean {
  return matricesOf(at, sizes).every(({ name, shape }) => tensors.hasShape(name, ...shape));
}
