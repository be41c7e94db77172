import { CheckpointError } from '../../base/errors.js';
import { isBlockType } from '../../binding/block_types.js';
import type {
  MatrixView,
  NativeFile,
  ScalesView,
  StoredType,
  VectorView,
} from '../../binding/views.js';
import { type DType, heldType } from '../../layer/weights.js';
import { storedTypeOf } from '../containers/dtype.js';
import { shapeText, type TensorEntry, tensorIn } from '../containers/header.js';
import type { TensorFile } from '../containers/tensor_file.js';
import { Block, type BlockElement } from './block.js';
import type { Form, ModuleTensors, Quantisation } from './quantisation/form.js';
import { type QuantisedModule, quantisedModules, unreadForm } from './quantisation/modules.js';

/** A tensor of a checkpoint: what its header says, and the file that holds it. */
export interface StoredTensor {
  readonly entry: TensorEntry;
  readonly file: TensorFile;
}

/** Scales of activations that were measured beforehand: of no use where activations stay floats. */
const activationScale = /\.(input|activation|output)_(global_)?(scale|zero_point)$/;

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
  readonly #map: ((file: TensorFile) => NativeFile) | undefined;
  readonly #held: ReadonlySet<number> | undefined;
  /** By the names that their weights would have as floats. */
  readonly #modules: ReadonlyMap<string, QuantisedModule>;
  readonly #formOf: (module: string) => Form | undefined;
  readonly #read = new Set<string>();

  /**
   * @param prefix what the tensors' full names begin with: `model.layers.3.`
   * @param tensors by the name behind the prefix
   * @param map maps a file into memory; called when a view into it is made. Undefined: names, types and shapes are looked
   *   at, and what is made of them is not to be read
   * @param held numbers of the experts whose weights will be read; all when left out
   * @param quantisation how matrices are quantised, where a description says it: they are then found by the names that
   *   they would have as floats
   */
  constructor(
    prefix: string,
    tensors: ReadonlyMap<string, StoredTensor>,
    map: ((file: TensorFile) => NativeFile) | undefined,
    held?: ReadonlySet<number>,
    quantisation?: Quantisation,
  ) {
    this.#prefix = prefix;
    this.#tensors = tensors;
    this.#map = map;
    this.#held = held;
    this.#formOf = (module) => quantisation?.formOf(prefix + module);
    this.#modules = quantisedModules(
      [...tensors].map(([name, { entry }]) => [name, entry] as const),
      this.#formOf,
    );
    for (const name of tensors.keys()) {
      const wrong = unreadForm(name, this.#modules);
      if (wrong !== undefined)
        throw new CheckpointError(
          `Expected weights of type F32, BF16, F16 or F8_E4M3, got ${this.#describe(name)}: ${wrong}`,
        );
    }
  }

  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  has(name: string): boolean {
    return this.#tensors.has(name) || this.#modules.has(name);
  }

  /** The first of several names that is there, else the first. */
  find(...names: [string, ...string[]]): string {
    return names.find((name) => this.has(name)) ?? names[0];
  }

  /** A tensor's shape. Throws `CheckpointError` unless it has `rank` dimensions, none of them 0. */
  shape(name: string, rank: number): readonly number[] {
    const { form, codes = name } = this.#codesOf(name);
    const { shape } = this.#get(codes).entry;
    if (shape.length !== rank || shape.includes(0))
      throw this.error(codes, `${rank} dimensions of at least 1`, shapeText(shape));
    return form === undefined
      ? shape
      : [...shape.slice(0, -2), ...form.featuresOf(shape.slice(-2))];
  }

  /** Whether it is there, of this shape. Dimensions of size 1 do not count. */
  hasShape(name: string, ...shape: number[]): boolean {
    const { form, codes = name } = this.#codesOf(name);
    const tensor = this.#tensors.get(codes);
    const [out = 0, inputs = 0] = shape.slice(-2);
    const stored =
      form === undefined ? shape : [...shape.slice(0, -2), ...form.shapeOf(out, inputs)];
    return tensor !== undefined && sameShape(tensor.entry.shape, stored);
  }

  /** The type that holds a tensor's elements. Throws `CheckpointError` when no layer can hold them. */
  dtype(name: string): DType | 'published' {
    return this.#modules.has(name) ? 'published' : heldType(this.#storedType(name));
  }

  /** A tensor of exactly this shape, to be viewed. Dimensions of size 1 do not count. */
  block(name: string, ...shape: number[]): Block {
    return this.#block(name, shape, this.#storedType(name));
  }

  /** A tensor of exactly this shape, whose elements are those that its type stands for here. */
  typed(
    name: string,
    types: Readonly<Record<string, BlockElement>>,
    ...shape: readonly number[]
  ): Block {
    const { dtype } = this.#get(name).entry;
    const type = Object.hasOwn(types, dtype) ? types[dtype] : undefined;
    if (type === undefined) throw this.error(name, `type ${Object.keys(types).join(', ')}`, dtype);
    return this.#block(name, shape, type);
  }

  /** Where the tensor of a quantised module's codes is. */
  #codesOf(name: string): { form?: Form; codes?: string } {
    const module = this.#modules.get(name);
    return module === undefined
      ? {}
      : { form: module.form, codes: module.name + module.form.codes };
  }

  /** Where a tensor's bytes stand. */
  region(name: string): { source: NativeFile; byteOffset: number; byteLength: number } {
    const { entry, file } = this.#get(name);
    this.#read.add(name);
    const { byteOffset, byteLength } = entry;
    return { source: this.#source(file), byteOffset, byteLength };
  }

  #source(file: TensorFile): NativeFile {
    return this.#map === undefined ? nowhere : this.#map(file);
  }

  /** Whether a tensor's numbers will be read. */
  #isUsed(name: string): boolean {
    const [, expert] = /(?:^|\.)experts\.(\d+)\./.exec(name) ?? [];
    const isHeld = expert === undefined || this.#held?.has(Number(expert)) !== false;
    return this.#map !== undefined && isHeld;
  }

  #block(name: string, shape: readonly number[], type: BlockElement): Block {
    const { entry, file } = this.#get(name);
    if (!sameShape(entry.shape, shape))
      throw this.error(name, `shape ${shapeText(shape)}`, shapeText(entry.shape));
    this.#read.add(name);
    return new Block(this.#source(file), entry, type, this.#describe(name), this.#isUsed(name));
  }

  /**
   * A matrix stored as `[outFeatures, inFeatures]`, with its scales when it is of fp8, or as its module is quantised.
   *
   * @param experts there is a dimension of so many before those: the matrix has the output features of all, one expert's
   *   behind the other's
   */
  matrix(name: string, outFeatures: number, inFeatures: number, experts?: number): MatrixView {
    const module = this.#modules.get(name) ?? this.#missing(name);
    const rows = (experts ?? 1) * outFeatures;
    if (module !== undefined) {
      this.#read.add(name);
      return module.form.read(this.#tensorsOf(module.name, experts), rows, inFeatures);
    }
    const { pairedRows } = this.#get(name).entry;
    const stack = experts === undefined ? [] : [experts];
    const view = {
      ...this.block(name, ...stack, outFeatures, inFeatures).matrix({
        ...{ outFeatures: rows, inFeatures },
      }),
      ...(pairedRows !== undefined && { pairedRows }),
      ...(isBlockType(this.#get(name).entry.dtype) && { name: this.#describe(name) }),
      ...this.#factorBeside(name),
    };
    return view.dtype === 'float8_e4m3'
      ? { ...view, scales: this.#scales(name, stack, outFeatures, inFeatures) }
      : view;
  }

  /** What multiplies all of NVFP4's weights in a GGUF file. */
  #factorBeside(name: string): Pick<MatrixView, 'factor'> {
    const module = name.replace(/\.weight$/, '');
    const scale = `${module}.scale`;
    if (this.#get(name).entry.dtype !== 'nvfp4' || !this.#tensors.has(scale)) return {};
    const [factor] = this.#tensorsOf(module).numbers('.scale', ['F32'], 1) ?? [];
    if (factor === undefined) return {};
    if (!(factor > 0 && Number.isFinite(factor)))
      throw this.error(scale, 'a finite number above 0', String(factor));
    return { factor };
  }

  /** A module that is described and has no weights at all: what is missing is what it is described to have. */
  #missing(name: string): QuantisedModule | undefined {
    if (this.#tensors.has(name)) return undefined;
    const module = name.replace(/\.weight$/, '');
    const form = this.#formOf(module);
    return form && { name: module, form };
  }

  /** Scales of blocks of 128 x 128, of output features, or one of each whole matrix. */
  #scales(
    name: string,
    stack: readonly number[],
    outFeatures: number,
    inFeatures: number,
  ): ScalesView {
    const [first, second] = scaleEndings.map((ending) => name + ending) as [string, string];
    const scales = this.find(first, second);
    const { shape } = this.#get(scales).entry;
    const wholeMatrix = { outBlock: outFeatures, inBlock: inFeatures, outStride: 1 };
    if (sameShape(shape, stack)) return this.block(scales, ...stack).scales(wholeMatrix);
    if (sameShape(shape, [...stack, outFeatures]))
      return this.block(scales, ...stack, outFeatures).scales({ ...wholeMatrix, outBlock: 1 });
    const [rows, columns] = [outFeatures, inFeatures].map((size) =>
      Math.ceil(size / scaleBlock),
    ) as [number, number];
    if (stack.length > 0 && outFeatures % scaleBlock !== 0)
      throw this.error(name, `a multiple of ${scaleBlock} output features`, `${outFeatures}`);
    return this.block(scales, ...stack, rows, columns).scales({
      ...{ outBlock: scaleBlock, inBlock: scaleBlock, outStride: columns },
    });
  }

  #tensorsOf(module: string, experts?: number): ModuleTensors {
    // Rows of all experts stand one behind another, whichever dimensions say so.
    const stacked = (rows: number) =>
      experts === undefined || rows % experts !== 0 ? [rows] : [experts, rows / experts];
    const exactly = (name: string, types: readonly string[], size: number) => {
      const { dtype, shape } = this.#get(name).entry;
      if (!types.includes(dtype)) throw this.error(name, `type ${types.join(', ')}`, dtype);
      if (!sameShape(shape, [size]))
        throw this.error(name, `shape ${shapeText([size])}`, shapeText(shape));
      return { dtype, ...this.region(name) };
    };
    return {
      has: (ending) => this.#tensors.has(module + ending),
      block: (ending, types, rows, ...columns) =>
        this.typed(module + ending, types, ...stacked(rows), ...columns),
      ints: (ending, size) => {
        const { source, byteOffset } = exactly(module + ending, ['I32'], size);
        return { source, byteOffset, name: this.#describe(module + ending) };
      },
      numbers: (ending, types, size) => {
        const region = exactly(module + ending, types, size);
        if (!this.#isUsed(module + ending)) return undefined;
        return smallNumbers(region.dtype, region.source.read(region.byteOffset, region.byteLength));
      },
      error: (ending, expected, got) => this.error(module + ending, expected, got),
    };
  }

  vector(name: string, size: number): VectorView {
    return this.block(name, size).vector({ size });
  }

  /**
   * Throws `CheckpointError` for a tensor that nothing has read: leaving it out would change the layer's output. Scales of
   * the activations of weights that were read do not, nor do biases of zeros that GPTQ's tools write for every matrix.
   *
   * @returns sentences for what was left out
   */
  expectAllRead(): string[] {
    const unread = this.names.filter((name) => !this.#read.has(name));
    const scales = unread.filter(
      (name) =>
        activationScale.test(name) && this.#read.has(name.replace(activationScale, '.weight')),
    );
    const biases = unread.filter((name) => this.#isBiasOfZeros(name));
    const leftOut = new Set([...scales, ...biases]);
    const refused = unread.find((name) => !leftOut.has(name));
    if (refused !== undefined)
      throw new CheckpointError(
        `Expected no tensor that this layer has no use for, got ${this.#describe(refused)}: it may change what ` +
          'the layer computes, and neither the model type nor its config says how',
      );
    const note = (names: readonly string[], what: string, why: string) =>
      names.length === 0
        ? []
        : [`${names.length} ${what} (${names[0]}${names.length > 1 ? ', …' : ''}) ${why}`];
    return [
      ...note(
        scales,
        'static scales of activations',
        'have no effect: activations are not quantised by them',
      ),
      ...note(biases, 'biases', 'are not read: all of their numbers are 0'),
    ];
  }

  #isBiasOfZeros(name: string): boolean {
    if (!name.endsWith('.bias')) return false;
    const { form } = this.#codesOf(name.replace(/bias$/, 'weight'));
    if (form?.codes !== '.qweight') return false;
    if (!this.#isUsed(name)) return true;
    const { source, byteOffset, byteLength } = this.region(name);
    return source.read(byteOffset, byteLength).every((byte) => byte === 0);
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

/** Numbers of a tensor that are as good as part of a description. */
function smallNumbers(dtype: string, bytes: Uint8Array): number[] {
  const { buffer } = Uint8Array.from(bytes);
  if (dtype === 'F32') return [...new Float32Array(buffer)];
  return dtype === 'I32' ? [...new Int32Array(buffer)] : [...new BigInt64Array(buffer)].map(Number);
}
