// Where a model's weights come from: a checkpoint's tensors, or what a device packed before.
import type { HeldWeights } from '../binding/devices.js';
import type {
  NativeDecoderLayerViews,
  NativeModelSpec,
  NativeOuterViews,
} from '../binding/model.js';
import type { LayerWeightViews } from '../binding/views.js';
import type { MoECheckpoint } from '../checkpoint/checkpoint.js';
import type { HeldModelOptions } from './options.js';

/** How dense weights are held: those of attention and dense layers, and the output head. */
export type Projections = Pick<NativeModelSpec, 'projections' | 'head'>;

/** Where the weights of a layer stand; of a Mixture-of-Experts block the checkpoint says it. */
export interface LayerOfModel {
  /** But for what follows attention. */
  views: Omit<NativeDecoderLayerViews, 'feedForward'>;
  /** Of a dense layer. */
  dense?: LayerWeightViews;
  notes: readonly string[];
}

export interface OuterOfModel {
  views: NativeOuterViews;
  notes: readonly string[];
}

/** Where a model's Mixture-of-Experts blocks come from: a checkpoint. */
export type BlockSource = Pick<MoECheckpoint, 'path' | 'parts' | 'unmap'>;

/** Where a model's weights come from. */
export interface ModelSource {
  /** Sentences about what is left out. */
  readonly notes: readonly string[];
  /** Weights are used where they stand: their file stays mapped for as long as the model lives. */
  readonly inPlace: boolean;
  /** @param reads false where weights are looked at only */
  layer(number: number, reads?: boolean): Promise<LayerOfModel>;
  /** What stands before and behind the layers. */
  outer(reads?: boolean): Promise<OuterOfModel>;
  /** The file that rows of the embedding are read from as they are needed. */
  pathOfEmbedding(): Promise<string>;
  /** How dense weights are held, by what was asked for and by what they are stored as. */
  projections(
    options: HeldModelOptions,
    held: readonly HeldWeights[] | undefined,
    layers: readonly LayerOfModel[],
    outer: OuterOfModel,
  ): Projections;
}
