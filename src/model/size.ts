// What a whole model weighs, by where its weights stand and how they would be held.

import { blockTypes, isBlockType } from '../binding/block_types.js';
import type { HeldWeights } from '../binding/devices.js';
import { type KvType, kvBlock, type NativeAttention } from '../binding/model.js';
import type { DType, MatrixView, VectorView } from '../binding/views.js';
import { featureBytes, type WeightType, weightFormats } from '../binding/weight_formats.js';
import { packedDevice } from '../checkpoint/description.js';
import type { LayerParts } from '../layer/parts.js';
import type { ModelDescription } from './describe.js';
import { projectionsOf } from './held.js';
import type { BlockSource, LayerOfModel, ModelSource, OuterOfModel } from './model_source.js';
import type { HeldModelOptions } from './options.js';

/** A layer; `block` is absent for a dense one. */
interface SourceLayer {
  own: LayerOfModel;
  block?: LayerParts;
}

/** Some matrices or vectors of one shape. */
interface Stock {
  /**
   * How they are held. The embedding is not: its rows are read where they stand. Biases of experts stand in places that packed
   * matrices have for them anyway.
   */
  readonly as: 'blocks' | 'projections' | 'head' | 'floats' | 'embedding' | 'places';
  readonly outFeatures: number;
  /** Undefined: a vector. */
  readonly inFeatures: number | undefined;
  /** Bits of an element where it is held as it was published. */
  readonly publishedBits: number;
  /** Of a block: what it is held as where nothing else is asked for. */
  readonly stored?: WeightType | undefined;
  readonly count: number;
  /** How many of them a token meets. */
  readonly active: number;
}

/** Bytes of weights on a device. */
export interface WeightBytes {
  /** All. */
  readonly held: number;
  /** Of one expert of a block, on average over the blocks. */
  readonly expert: number;
  /** Without routed experts: what every step reads. */
  readonly always: number;
}

/** All weights of a model. */
export class ModelSize {
  readonly #description: ModelDescription;
  readonly #layers: readonly SourceLayer[];
  readonly #outer: OuterOfModel;
  readonly #stocks: readonly Stock[];

  private constructor(
    description: ModelDescription,
    layers: readonly SourceLayer[],
    outer: OuterOfModel,
  ) {
    this.#description = description;
    this.#layers = layers;
    this.#outer = outer;
    const { embedding, norm, head } = outer.views;
    this.#stocks = [
      ...layers.flatMap(stocksOf),
      stockOf('embedding', embedding),
      ...(norm ? [stockOf('floats', norm)] : []),
      ...(head ? [stockOf('head', head)] : []),
    ];
  }

  static async of(
    blocks: BlockSource,
    source: ModelSource,
    description: ModelDescription,
  ): Promise<ModelSize> {
    const layers: SourceLayer[] = [];
    for (const [number, { dense }] of description.layers.entries()) {
      const own = await source.layer(number, false);
      layers.push(
        dense
          ? { own }
          : { own, block: await blocks.parts(number, { device: packedDevice }, false) },
      );
    }
    return new ModelSize(description, layers, await source.outer(false));
  }

  /** Numbers that were trained. */
  get parameters(): number {
    return this.#parameters(({ count }) => count);
  }

  /** Those that a token meets: all but the experts that it does not choose. */
  get activeParameters(): number {
    return this.#parameters(({ active }) => active);
  }

  /** @param held how the device can hold weights */
  weightBytes(options: HeldModelOptions, held: readonly HeldWeights[] | undefined): WeightBytes {
    const own = this.#layers.map((layer) => layer.own);
    const { projections, head } = projectionsOf(options, held, own, this.#outer);
    const types = {
      ...{ projections, head, floats: { weightType: 'float32', weightGroup: 0 } as const },
      blocks: projections,
    };
    const bytesOf = ({ as, outFeatures, inFeatures, publishedBits, stored }: Stock): number => {
      if (as === 'embedding' || as === 'places') return 0;
      if (inFeatures === undefined) return 4 * outFeatures;
      const { weightType, weightGroup } =
        stored === undefined || options.weightType !== undefined
          ? types[as]
          : { weightType: stored, weightGroup: 0 };
      // A packed matrix has a place for a bias of each output feature.
      const bytes =
        weightType === 'published'
          ? (inFeatures * publishedBits) / 8
          : featureBytes(weightType, inFeatures, weightGroup);
      return outFeatures * (bytes + 4);
    };
    const sum = (some: readonly Stock[], number: (stock: Stock) => number) =>
      some.reduce((total, stock) => total + number(stock) * bytesOf(stock), 0);
    const isRouted = ({ count, active }: Stock) => count !== active;
    const routed = this.#stocks.filter(isRouted);
    const experts = this.#layers.reduce(
      (all, { block }) => all + (block?.config.expertNum ?? 0),
      0,
    );
    return {
      held: sum(this.#stocks, ({ count }) => count),
      expert: sum(routed, ({ count }) => count) / experts,
      always: sum(
        this.#stocks.filter((stock) => !isRouted(stock)),
        ({ count }) => count,
      ),
    };
  }

  /** Of the embedding, in its file. */
  get embeddingBytes(): number {
    const { dtype, outFeatures, inFeatures } = this.#outer.views.embedding;
    const bits = isBlockType(dtype)
      ? (8 * blockTypes[dtype].bytes) / blockTypes[dtype].elements
      : weightFormats[dtype as DType].bits;
    return (outFeatures * inFeatures * bits) / 8;
  }

  #parameters(counted: (stock: Stock) => number): number {
    const { tied } = this.#description;
    return this.#stocks.reduce(
      (total, stock) =>
        stock.as === 'head' && tied
          ? total
          : total + counted(stock) * stock.outFeatures * (stock.inFeatures ?? 1),
      0,
    );
  }
}

/** Bits of codes that the CPU holds in less than 8. */
const codeBits: Readonly<Partial<Record<string, number>>> = {
  ...{ float4_e2m1: 4, uint2: 4, uint3: 4, uint4: 4, uint5: 5, uint6: 6 },
};

/** Bits of an element of a matrix that the CPU holds as it was published (native/cpu/published.cc). */
function publishedBits({ dtype, scales, zeros, inFeatures, outFeatures }: MatrixView): number {
  if (isBlockType(dtype)) return blockTypes[dtype].heldBits;
  if (scales === undefined) return weightFormats[dtype as DType].bits;
  const codes = codeBits[dtype] ?? 8;
  const scale = scales.dtype.startsWith('float8') ? 8 : weightFormats[scales.dtype as DType].bits;
  const ofGroup = (scales.offsets ? 2 : 1) * scale + (zeros ? 8 : 0);
  const superBlock = scales.dtype === 'float8_e4m3' ? 32 / 256 : 0;
  if (scales.inBlock >= inFeatures) return codes + ofGroup / 128 + superBlock;
  const together = [128, 64, 32, 16].find((inputs) => scales.inBlock % inputs === 0);
  // Where inputs of a group do not stand together, each says which it is of.
  return together === undefined || scales.groupOfInput
    ? codes + ofGroup / scales.inBlock + 32 / outFeatures
    : codes + ofGroup / together + superBlock;
}

const one = { count: 1, active: 1 };
const stockOf = (as: Stock['as'], view: MatrixView | VectorView): Stock =>
  'size' in view
    ? {
        as: as === 'blocks' ? 'places' : 'floats',
        ...{ outFeatures: view.size, inFeatures: undefined, publishedBits: 32, ...one },
      }
    : {
        ...{ as, outFeatures: view.outFeatures, inFeatures: view.inFeatures, ...one },
        publishedBits: publishedBits(view),
      };

function stocksOf({ own, block }: SourceLayer): Stock[] {
  const all = (as: Stock['as'], views: object) =>
    Object.values(views as Record<string, MatrixView | VectorView>).map((view) =>
      stockOf(as, view),
    );
  const { views, config } = block ?? {};
  const { experts = [], shared = {}, packed: _, ...router } = views ?? {};
  // Those of one size and form are one stock.
  const routed = new Map<string, Stock>();
  const { numExpertsChosen = 0, expertNum = 1 } = config ?? {};
  for (const stock of experts.flatMap((expert) => all('blocks', expert))) {
    const key = JSON.stringify(stock);
    const count = (routed.get(key)?.count ?? 0) + 1;
    routed.set(key, { ...stock, count, active: (count * numExpertsChosen) / expertNum });
  }
  return [
    ...all('projections', own.views.attention ?? {}),
    ...all('floats', { norm: own.views.feedForwardNorm }),
    ...all('projections', own.dense?.shared ?? {}),
    ...all('floats', router),
    ...[...routed.values(), ...all('blocks', shared)].map((stock) => ({
      ...stock,
      stored: block?.weightType,
    })),
  ];
}

const numberBytes: Readonly<Record<KvType, number>> = { float32: 4, bfloat16: 2, int8: 1 };

/** Bytes that the cache takes for each token that it can hold. */
export const kvBytesPerToken = (description: ModelDescription, kvType: KvType): number =>
  kvBytesRead(description, kvType, 1);

/** Bytes of the cache that the next token of a sequence reads, as CpuKvCache has them. */
export function kvBytesRead({ layers }: ModelDescription, kvType: KvType, tokens: number): number {
  const ofBlock = ({ kind, kvHeads, headSize, latentSize, rotatedSize }: NativeAttention) => {
    const scales = kvType === 'int8' ? kvBlock * 4 : 0;
    const part = (count: number) => roundUp(kvBlock * count * numberBytes[kvType], 64) + scales;
    const ofHead =
      kind === 'latent'
        ? part(roundUp(latentSize + rotatedSize, 16))
        : part(roundUp(headSize, 4)) + part(roundUp(headSize, 16));
    return kvHeads * ofHead;
  };
  return layers.reduce(
    (sum, { attention }) =>
      sum + (ofBlock(attention) / kvBlock) * Math.min(tokens, attention.window || Infinity),
    0,
  );
}

const roundUp = (value: number, multiple: number) => Math.ceil(value / multiple) * multiple;
