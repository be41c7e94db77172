import type { MoECheckpoint } from '../checkpoint/checkpoint.js';
import type { LoadOptions } from '../layer/options.js';
import type { LayerParts } from '../layer/parts.js';
import type { ModelDescription } from './describe.js';
import { type LayerOfModel, ModelTensors, type OuterViews } from './model_tensors.js';

/** How Mixture-of-Experts blocks are held. */
export type HeldBlocks = Pick<
  LoadOptions,
  'weightType' | 'weightGroup' | 'activationType' | 'threads'
>;

/** A layer as it stands in its source; `block` is absent for a dense one. */
export interface SourceLayer {
  own: LayerOfModel;
  block?: LayerParts;
}

/** Where the weights of a whole model come from. */
export interface WeightSource {
  /** For messages. */
  readonly name: string;
  /** Sentences about what is left out. */
  readonly notes: readonly string[];
  /** @param reads false where weights are looked at only */
  layer(number: number, held: HeldBlocks, reads: boolean): Promise<SourceLayer>;
  /** What stands before and behind the layers. */
  outer(reads: boolean): Promise<OuterViews & { notes: readonly string[] }>;
  /** What was read of a layer is held packed now: it need not count as the process's memory any longer. */
  layerHeld(): void;
  /** The same of all but the embedding, whose rows are read as they are needed. */
  allHeld(): Promise<void>;
}

/** A checkpoint's. */
export class CheckpointWeights implements WeightSource {
  readonly #checkpoint: MoECheckpoint;
  readonly #description: ModelDescription;
  readonly #tensors: ModelTensors;

  /** @throws `CheckpointError` for a layer that is not of the kind that the config says */
  constructor(checkpoint: MoECheckpoint, description: ModelDescription) {
    this.#checkpoint = checkpoint;
    this.#description = description;
    this.#tensors = new ModelTensors(checkpoint, description);
  }

  get name(): string {
    return this.#checkpoint.path;
  }

  get notes(): readonly string[] {
    return this.#tensors.notes;
  }

  async layer(number: number, held: HeldBlocks, reads: boolean): Promise<SourceLayer> {
    const own = await this.#tensors.layer(number, reads);
    return this.#description.layers[number]?.dense !== undefined
      ? { own }
      : { own, block: await this.#checkpoint.parts(number, held, reads) };
  }

  outer(reads: boolean): Promise<OuterViews & { notes: readonly string[] }> {
    return this.#tensors.outer(reads);
  }

  layerHeld(): void {
    this.#checkpoint.unmap();
  }

  async allHeld(): Promise<void> {
    this.#checkpoint.unmap(await this.#tensors.pathOfEmbedding());
  }
}
