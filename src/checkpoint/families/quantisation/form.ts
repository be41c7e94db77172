import type { MatrixView, NamedPlace } from '../../../binding/views.js';
import type { Block, BlockElement } from '../block.js';

/** The tensors of one module, by what stands behind its name: `.weight`. */
export interface ModuleTensors {
  has(ending: string): boolean;
  /** A tensor of exactly this shape, whose type is one of those; dimensions of size 1 do not count. */
  block(
    ending: string,
    types: Readonly<Record<string, BlockElement>>,
    rows: number,
    ...columns: number[]
  ): Block;
  /** Where an int32 tensor of exactly this size stands, with its name for messages. */
  ints(ending: string, size: number): NamedPlace;
  /**
   * The numbers of a small tensor of exactly this size, whose type is one of those; undefined where nothing is read, as
   * weights are looked at only.
   */
  numbers(
    ending: string,
    types: readonly ('F32' | 'I32' | 'I64')[],
    size: number,
  ): number[] | undefined;
  /** The error for a tensor that is not as it should be. */
  error(ending: string, expected: string, got: string): Error;
}

/** How the matrix of a module is quantised. */
export interface Form {
  /** What stands behind the module's name where its codes are. */
  readonly codes: '.weight' | '.weight_packed' | '.qweight';
  /** The shape of the codes' tensor. */
  shapeOf(outFeatures: number, inFeatures: number): readonly number[];
  /** Its inverse; input features fill the last word. */
  featuresOf(shape: readonly number[]): readonly [outFeatures: number, inFeatures: number];
  /** Throws `CheckpointError` naming the tensor that is missing or of another type or shape. */
  read(tensors: ModuleTensors, outFeatures: number, inFeatures: number): MatrixView;
}

/** How the matrices of a checkpoint are quantised. */
export interface Quantisation {
  /** Of a module by its full name, if it is quantised; undefined: its weights are floats, or float8 with scales. */
  formOf(module: string): Form | undefined;
}

/** Types of scales that are floats. */
export const floatScales = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' } as const;

/** How many stretches of `size` there are in `features`. */
export const stretches = (features: number, size: number): number => Math.ceil(features / size);
