import { CheckpointError } from '../../base/errors.js';
import { type BlockType, blockTypes } from '../../binding/block_types.js';
import type {
  MatrixView,
  NativeFile,
  Place,
  ScalesView,
  VectorView,
  WeightSource,
} from '../../binding/views.js';

const ofBlocks = Object.fromEntries(
  Object.entries(blockTypes).map(([type, { elements, bytes }]) => [type, (8 * bytes) / elements]),
) as Record<BlockType, number>;

/** Bits of one element; of blocks, of each of theirs. */
const elementBits = {
  ...ofBlocks,
  float32: 32,
  bfloat16: 16,
  float16: 16,
  float8_e4m3: 8,
  float4_e2m1: 4,
  float8_e8m0: 8,
  int8: 8,
  uint8: 8,
  uint6: 6,
  uint5: 5,
  uint4: 4,
  uint3: 3,
  uint2: 2,
} as const;
export type BlockElement = keyof typeof elementBits;

const floatTypes = ['float32', 'bfloat16', 'float16'] as const;
const integerTypes = ['int8', 'uint8', 'uint6', 'uint5', 'uint4', 'uint3', 'uint2'] as const;
const typesOfBlocks = Object.keys(blockTypes) as BlockType[];
const storedTypes = [
  ...[...floatTypes, 'float8_e4m3', 'float4_e2m1', ...integerTypes],
  ...typesOfBlocks,
] as const;
const scaleTypes = [...floatTypes, 'float8_e8m0', 'float8_e4m3'] as const;

/** Where one stored tensor's elements are: views are cut out of it. */
export class Block {
  readonly #source: WeightSource;
  readonly #byteOffset: number;
  readonly #dtype: BlockElement;
  readonly #name: string;

  /**
   * @param name for messages about what is in it
   * @param used false where no view of it will be read: then nothing of it is
   */
  constructor(
    file: NativeFile,
    { byteOffset, byteLength }: { byteOffset: number; byteLength: number },
    dtype: BlockElement,
    name: string,
    used: boolean,
  ) {
    this.#dtype = dtype;
    this.#name = name;
    const aligned = elementBits[dtype] < 16 || byteOffset % (elementBits[dtype] / 8) === 0;
    if (aligned || !used) {
      this.#source = file;
      this.#byteOffset = byteOffset;
    } else {
      // The format does not promise alignment, and native code reads whole elements: such a tensor is copied.
      const { buffer } = Uint8Array.from(file.read(byteOffset, byteLength));
      this.#source = dtype === 'float32' ? new Float32Array(buffer) : new Uint16Array(buffer);
      this.#byteOffset = 0;
    }
  }

  /** Where its first element stands. */
  place(): Place {
    return this.#at(0);
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
    const dtype = this.#typeOf(storedTypes);
    return { ...this.#at(first), dtype, outFeatures, inFeatures, outStride, inStride };
  }

  /** `first`: the scale of the first block, counted in elements. A row's scales stand side by side by default. */
  scales(at: {
    outBlock: number;
    inBlock: number;
    outStride: number;
    inStride?: number;
    first?: number;
  }): ScalesView {
    const { outBlock, inBlock, outStride, inStride = 1, first = 0 } = at;
    const dtype = this.#typeOf(scaleTypes);
    const blocks = { outBlock, inBlock, outStride, inStride };
    return { ...this.#at(first), dtype, ...blocks, name: this.#name };
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
    return { ...this.#at(first), dtype: this.#typeOf(floatTypes), size, stride };
  }

  #at(element: number): Place {
    const byteOffset = this.#byteOffset + (element * elementBits[this.#dtype]) / 8;
    return { source: this.#source, byteOffset };
  }

  #typeOf<T extends BlockElement>(types: readonly T[]): T {
    const type = types.find((known) => known === this.#dtype);
    if (type !== undefined) return type;
    throw new CheckpointError(
      `Expected ${this.#name} to have elements of type ${types.join(', ')}, got ${this.#dtype}`,
    );
  }
}
