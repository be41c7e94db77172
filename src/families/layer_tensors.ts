import { CheckpointError } from '../errors.js';
import type { NativeFile } from '../native.js';
import { floatType } from '../safetensors/dtype.js';
import type { SafetensorsFile } from '../safetensors/file.js';
import { shapeText, type TensorEntry, tensorIn } from '../safetensors/header.js';
import {
  type DType,
  elementBytes,
  type MatrixView,
  type VectorView,
  type WeightSource,
} from '../weights.js';

/** A tensor of a checkpoint: what its header says, and the file that holds it. */
export interface StoredTensor {
  readonly entry: TensorEntry;
  readonly file: SafetensorsFile;
}

/** Endings of tensors that belong to weights in a form no layer can be made of yet. */
const unsupported: readonly [ending: string, form: string][] = [
  ['.weight_scale_inv', 'fp8 with a scale per block'],
  ['.weight_scale', 'quantised with scales'],
  ['_blocks', 'MXFP4'],
  ['_scales', 'MXFP4'],
  ['.qweight', 'GPTQ or AWQ'],
];

/** The tensors of one MoE layer, by their names inside the layer (`mlp.gate.weight`). Notes which were read. */
export class LayerTensors {
  readonly #prefix: string;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #map: (file: SafetensorsFile) => NativeFile;
  readonly #read = new Set<string>();

  /**
   * @param prefix what the tensors' full names begin with: `model.layers.3.`
   * @param tensors by the name behind the prefix
   * @param map maps a file into memory; called when a view into it is made
   */
  constructor(
    prefix: string,
    tensors: ReadonlyMap<string, StoredTensor>,
    map: (file: SafetensorsFile) => NativeFile,
  ) {
    this.#prefix = prefix;
    this.#tensors = tensors;
    this.#map = map;
    for (const name of tensors.keys())
      for (const [ending, form] of unsupported)
        if (name.endsWith(ending))
          throw new CheckpointError(
            `Expected weights of type F32, BF16 or F16, got ${this.#describe(name)}: weights of the form "${form}" are ` +
              'not supported yet',
          );
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

  /** A tensor's element type. Throws `CheckpointError` when no layer can hold it. */
  dtype(name: string): DType {
    const { dtype } = this.#get(name).entry;
    const weightType = floatType(dtype);
    if (weightType === undefined)
      throw this.error(name, 'type F32, BF16 or F16', `${dtype}: this type is not supported yet`);
    return weightType;
  }

  /** A tensor of exactly this shape, to be viewed. Dimensions of size 1 do not count. */
  block(name: string, ...shape: number[]): Block {
    const { entry, file } = this.#get(name);
    const given = entry.shape.filter((size) => size !== 1);
    const wanted = shape.filter((size) => size !== 1);
    if (given.length !== wanted.length || given.some((size, axis) => size !== wanted[axis]))
      throw this.error(name, `shape ${shapeText(shape)}`, shapeText(entry.shape));
    const dtype = this.dtype(name);
    this.#read.add(name);
    return new Block(this.#map(file), entry.byteOffset, entry.byteLength, dtype);
  }

  /** A matrix stored as `[outFeatures, inFeatures]`. */
  matrix(name: string, outFeatures: number, inFeatures: number): MatrixView {
    return this.block(name, outFeatures, inFeatures).matrix({ outFeatures, inFeatures });
  }

  vector(name: string, size: number): VectorView {
    return this.block(name, size).vector({ size });
  }

  /** Throws `CheckpointError` for a tensor that nothing has read: leaving it out would change the layer's output. */
  expectAllRead(): void {
    for (const name of this.#tensors.keys())
      if (!this.#read.has(name))
        throw new CheckpointError(
          `Expected no tensor that this layer has no use for, got ${this.#describe(name)}: ` +
            'the layer is of another kind than its model type and the names of its tensors say',
        );
  }

  /** The error for a tensor that is not as it should be. */
  error(name: string, expected: string, got: string): CheckpointError {
    return new CheckpointError(`Expected ${this.#describe(name)} to have ${expected}, got ${got}`);
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

/** Where one stored tensor's elements are: views are cut out of it. */
export class Block {
  readonly #source: WeightSource;
  readonly #byteOffset: number;
  readonly #dtype: DType;

  constructor(file: NativeFile, byteOffset: number, byteLength: number, dtype: DType) {
    this.#dtype = dtype;
    if (byteOffset % elementBytes[dtype] === 0) {
      this.#source = file;
      this.#byteOffset = byteOffset;
    } else {
      // The format does not promise alignment, and native code reads whole elements: such a tensor is copied.
      const { buffer } = Uint8Array.from(file.read(byteOffset, byteLength));
      this.#source = dtype === 'float32' ? new Float32Array(buffer) : new Uint16Array(buffer);
      this.#byteOffset = 0;
    }
  }

  /** `first`: the element at (0, 0), counted in elements. Strides default to a dense `[out, in]`. */
  matrix(at: {
    outFeatures: number;
    inFeatures: number;
    first?: number;
    outStride?: number;
    inStride?: number;
  }): MatrixView {
    const { outFeatures, inFeatures, first = 0, outStride = inFeatures, inStride = 1 } = at;
    return { ...this.#at(first), outFeatures, inFeatures, outStride, inStride };
  }

  /** `first`: the element at 0, counted in elements. */
  vector({
    size,
    first = 0,
    stride = 1,
  }: {
    size: number;
    first?: number;
    stride?: number;
  }): VectorView {
    return { ...this.#at(first), size, stride };
  }

  #at(element: number): { source: WeightSource; byteOffset: number; dtype: DType } {
    const byteOffset = this.#byteOffset + element * elementBytes[this.#dtype];
    return { source: this.#source, byteOffset, dtype: this.#dtype };
  }
}
