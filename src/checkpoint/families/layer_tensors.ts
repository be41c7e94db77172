import { CheckpointError } from '../../base/errors.js';
import type {
  MatrixView,
  NativeFile,
  ScalesView,
  StoredType,
  VectorView,
} from '../../binding/views.js';
import { type DType, heldType } from '../../layer/weights.js';
import { storedTypeOf } from '../containers/dtype.js';
import type { SafetensorsFile } from '../containers/file.js';
import { shapeText, type TensorEntry, tensorIn } from '../containers/header.js';
import { Block } from './block.js';

/** A tensor of a checkpoint: what its header says, and the file that holds it. */
export interface StoredTensor {
  readonly entry: TensorEntry;
  readonly file: SafetensorsFile;
}

/** Endings of tensors that belong to weights in a form no layer can be made of. */
const unsupported: readonly [ending: string, form: string][] = [
  ['.qweight', 'GPTQ or AWQ'],
  ['.weight_packed', 'compressed-tensors, packed'],
  ['.weight_scale_2', 'NVFP4'],
  ['.absmax', 'bitsandbytes, 4 bits'],
  ['.SCB', 'bitsandbytes, 8 bits'],
  ['.biases', 'MLX, affine'],
];

/** Scales of activations that were measured beforehand: of no use where activations stay floats. */
const activationScale = /\.(input|activation)_scale$/;

/** Where the scales of fp8 weights stand, behind the weights' own name. */
const scaleEndings = ['_scale_inv', '_scale'] as const;

/** The side of a block of fp8 weights that share a scale. */
const scaleBlock = 128;

/** Where tensors stand that are looked at only. */
const nowhere: NativeFile = {
  read() {
    throw new CheckpointError('Expected no weights to be read while a checkpoint is described');
  },
  close() {},
};

/** The tensors of one layer, by their names inside the layer (`mlp.gate.weight`). Notes which were read. */
export class LayerTensors {
  readonly #prefix: string;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #map: ((file: SafetensorsFile) => NativeFile) | undefined;
  readonly #held: ReadonlySet<number> | undefined;
  readonly #read = new Set<string>();

  /**
   * @param prefix what the tensors' full names begin with: `model.layers.3.`
   * @param tensors by the name behind the prefix
   * @param map maps a file into memory; called when a view into it is made. Undefined: names, types and shapes are looked
   *   at, and what is made of them is not to be read
   * @param held numbers of the experts whose weights will be read; all when left out
   */
  constructor(
    prefix: string,
    tensors: ReadonlyMap<string, StoredTensor>,
    map: ((file: SafetensorsFile) => NativeFile) | undefined,
    held?: ReadonlySet<number>,
  ) {
    this.#prefix = prefix;
    this.#tensors = tensors;
    this.#map = map;
    this.#held = held;
    for (const name of tensors.keys())
      for (const [ending, form] of unsupported)
        if (name.endsWith(ending))
          throw new CheckpointError(
            `Expected weights of type F32, BF16, F16 or F8_E4M3, got ${this.#describe(name)}: weights of the form ` +
              `"${form}" are not supported`,
          );
  }

  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** The first of several names that is there, else the first. */
  find(...names: [string, ...string[]]): string {
    return names.find((name) => this.has(name)) ?? names[0];
  }

  /** A tensor's shape. Throws `CheckpointError` unless it has `rank` dimensions, none of them 0. */
  shape(name: string, rank: number): readonly number[] {
    const { shape } = this.#get(name).entry;
    if (shape.length !== rank || shape.includes(0))
      throw this.error(name, `${rank} dimensions of at least 1`, shapeText(shape));
    return shape;
  }

  /** Whether it is there, of this shape. Dimensions of size 1 do not count. */
  hasShape(name: string, ...shape: number[]): boolean {
    const tensor = this.#tensors.get(name);
    return tensor !== undefined && sameShape(tensor.entry.shape, shape);
  }

  /** The type that holds a tensor's elements. Throws `CheckpointError` when no layer can hold them. */
  dtype(name: string): DType | 'published' {
    return heldType(this.#storedType(name));
  }

  /** A tensor of exactly this shape, to be viewed. Dimensions of size 1 do not count. */
  block(name: string, ...shape: number[]): Block {
    return this.#block(name, shape, this.#storedType(name));
  }

  /** A tensor of bytes of exactly this shape, which hold elements of another type. */
  bytes(name: string, type: StoredType | 'float8_e8m0', ...shape: number[]): Block {
    const { dtype } = this.#get(name).entry;
    if (dtype !== 'U8') throw this.error(name, 'type U8', dtype);
    return this.#block(name, shape, type);
  }

  /** Where a tensor's bytes stand. */
  region(name: string): { source: NativeFile; byteOffset: number; byteLength: number } {
    const { entry, file } = this.#get(name);
    this.#read.add(name);
    const { byteOffset, byteLength } = entry;
    return { source: this.#source(file), byteOffset, byteLength };
  }

  #source(file: SafetensorsFile): NativeFile {
    return this.#map === undefined ? nowhere : this.#map(file);
  }

  #block(name: string, shape: readonly number[], type: StoredType | 'float8_e8m0'): Block {
    const { entry, file } = this.#get(name);
    if (!sameShape(entry.shape, shape))
      throw this.error(name, `shape ${shapeText(shape)}`, shapeText(entry.shape));
    this.#read.add(name);
    const [, expert] = /(?:^|\.)experts\.(\d+)\./.exec(name) ?? [];
    const isHeld = expert === undefined || this.#held?.has(Number(expert)) !== false;
    const used = this.#map !== undefined && isHeld;
    return new Block(this.#source(file), entry.byteOffset, entry.byteLength, type, used);
  }

  /** A matrix stored as `[outFeatures, inFeatures]`, with its scales when it is of fp8. */
  matrix(name: string, outFeatures: number, inFeatures: number): MatrixView {
    const view = this.block(name, outFeatures, inFeatures).matrix({ outFeatures, inFeatures });
    return view.dtype === 'float8_e4m3'
      ? { ...view, scales: this.#scales(name, outFeatures, inFeatures) }
      : view;
  }

  /** Scales of blocks of 128 x 128, of output features, or one of the whole matrix. */
  #scales(name: string, outFeatures: number, inFeatures: number): ScalesView {
    const [first, second] = scaleEndings.map((ending) => name + ending) as [string, string];
    const scales = this.find(first, second);
    const shape = this.#get(scales).entry.shape.filter((size) => size !== 1);
    const [rows, columns] = [outFeatures, inFeatures].map((size) => Math.ceil(size / scaleBlock));
    const wholeMatrix = { outBlock: outFeatures, inBlock: inFeatures, outStride: 1 };
    if (shape.length === 0) return this.block(scales, 1).scales(wholeMatrix);
    if (shape.length === 1 && shape[0] === outFeatures)
      return this.block(scales, outFeatures).scales({ ...wholeMatrix, outBlock: 1 });
    return this.block(scales, rows as number, columns as number).scales({
      outBlock: scaleBlock,
      inBlock: scaleBlock,
      outStride: columns as number,
    });
  }

  vector(name: string, size: number): VectorView {
    return this.block(name, size).vector({ size });
  }

  /**
   * Throws `CheckpointError` for a tensor that nothing has read: leaving it out would change the layer's output. Scales of
   * the activations of weights that were read do not.
   *
   * @returns a sentence for what was left out
   */
  expectAllRead(): string[] {
    const unread = this.names.filter((name) => !this.#read.has(name));
    const isLeftOut = (name: string) =>
      activationScale.test(name) && this.#read.has(name.replace(activationScale, '.weight'));
    const refused = unread.find((name) => !isLeftOut(name));
    if (refused !== undefined)
      throw new CheckpointError(
        `Expected no tensor that this layer has no use for, got ${this.#describe(refused)}: it may change what ` +
          'the layer computes, and neither the model type nor its config says how',
      );
    const [first] = unread;
    if (first === undefined) return [];
    return [
      `${unread.length} static scales of activations (${first}${unread.length > 1 ? ', …' : ''}) have no effect: ` +
        'activations are not quantised by them',
    ];
  }

  /** The error for a tensor that is not as it should be. */
  error(name: string, expected: string, got: string): CheckpointError {
    return new CheckpointError(`Expected ${this.#describe(name)} to have ${expected}, got ${got}`);
  }

  #storedType(name: string): StoredType {
    const { dtype } = this.#get(name).entry;
    const type = storedTypeOf(dtype);
    if (type === undefined)
      throw this.error(
        name,
        'type F32, BF16, F16 or F8_E4M3',
        `${dtype}: this type is not supported`,
      );
    return type;
  }

  #get(name: string): StoredTensor {
    const tensor = this.#tensors.get(name);
    if (tensor !== undefined) return tensor;
    const [other] = this.#tensors.values();
    throw new CheckpointError(
      `Expected ${tensorIn(other?.file.path ?? 'the checkpoint', this.#prefix + name)}, got none`,
    );
  }

  #describe(name: string): string {
    const { entry, file } = this.#get(name);
    return tensorIn(file.path, entry.name);
  }
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  const [left, right] = [a, b].map((shape) => shape.filter((size) => size !== 1).join());
  return left === right;
}
