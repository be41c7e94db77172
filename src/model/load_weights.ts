// A model's weights, layer by layer onto a device.
import { CheckpointError } from '../base/errors.js';
import { addon } from '../binding/addon.js';
import { deviceAt, deviceText, type ResolvedDevice } from '../binding/devices.js';
import type {
  NativeDecoderLayer,
  NativeDecoderLayerViews,
  NativeModel,
  NativeModelSpec,
} from '../binding/model.js';
import { settled } from '../binding/settled.js';
import { inLayer } from '../checkpoint/in_layer.js';
import { toNativeConfig } from '../config/native.js';
import type { WeightType } from '../layer/options.js';
import { checkParts, type LayerParts, nativeSpec } from '../layer/parts.js';
import { typeOfAll } from '../layer/weights.js';
import type { ModelDescription } from './describe.js';
import { denseSpec, modelSpec } from './held.js';
import type { BlockSource, LayerOfModel, ModelSource } from './model_source.js';
import type { ModelLoadOptions } from './options.js';

/** A layer as it stands in the files; `block` is absent for a dense one. */
interface Stored {
  own: LayerOfModel;
  block?: LayerParts;
}

type LayerOf = ModelDescription['layers'][number];

/** What the weights of a model become on a device. */
export class WeightLoader {
  readonly #checkpoint: BlockSource;
  readonly #source: ModelSource;
  readonly #description: ModelDescription;
  readonly #device: ResolvedDevice;
  readonly #options: ModelLoadOptions;
  /** Experts of each layer, 1 of a dense one: what progress is counted by. */
  readonly #experts: number[] = [];
  readonly #notes: Set<string>;
  #block: LayerParts | undefined;
  /** How experts of all layers are held; undefined: as each layer is stored. */
  #expertType: WeightType | undefined;

  constructor(
    checkpoint: BlockSource,
    source: ModelSource,
    description: ModelDescription,
    device: ResolvedDevice,
    options: ModelLoadOptions,
  ) {
    this.#checkpoint = checkpoint;
    this.#source = source;
    this.#description = description;
    this.#device = device;
    this.#options = options;
    this.#expertType = options.weightType;
    this.#notes = new Set([...description.notes, ...source.notes]);
  }

  /** Sentences about what has no effect, once all tensors were looked at. */
  get notes(): string[] {
    return [...this.#notes];
  }

  /** The first Mixture-of-Experts block, once all tensors were looked at. */
  get block(): LayerParts {
    if (this.#block === undefined)
      throw new CheckpointError(`Expected ${this.#checkpoint.path} to have MoE layers, got none`);
    return this.#block;
  }

  /**
   * Looks at all tensors: a model whose last layer lacks one is refused before its first one is packed.
   *
   * @throws what `loadModel` throws
   */
  async check(): Promise<NativeModelSpec> {
    const held = deviceAt(this.#device)?.weights;
    const layers: LayerOfModel[] = [];
    const blocks: LayerParts[] = [];
    for (const number of this.#description.layers.keys()) {
      const { own, block } = await this.#stored(number, false);
      layers.push(own);
      this.#experts.push(block?.config.expertNum ?? 1);
      if (block !== undefined) blocks.push(block);
      this.#note(own.notes, block?.notes, block?.config.diagnostics);
    }
    // Of several types each matrix has its own, as it has within a layer: one word then says how all layers are held.
    this.#expertType ??= typeOfAll(
      blocks.map(({ weightType }) => weightType),
      () => held,
    );
    for (const block of blocks) {
      block.weightType = this.#expertType ?? block.weightType;
      checkParts(block, this.#device, held);
    }
    [this.#block] = blocks;
    const outer = await this.#source.outer(false);
    this.#note(outer.notes);
    const projections = this.#source.projections(this.#options, held, layers, outer);
    return modelSpec(this.#description.spec, this.#options, projections);
  }

  /** @throws what `loadModel` throws */
  async load(spec: NativeModelSpec): Promise<NativeModel> {
    const native = await this.create(spec);
    try {
      for (const number of this.#description.layers.keys()) await this.add(native, number, spec);
      await this.finish(native);
      return native;
    } catch (error) {
      await settled(() => native.close());
      throw error;
    }
  }

  /** A model on the device, without layers yet. */
  create(spec: NativeModelSpec): Promise<NativeModel> {
    const { backend, index } = this.#device;
    return settled(() => addon().createModel(backend, index, spec), this.#options.signal);
  }

  /** Adds the next layer, of this number. */
  async add(native: NativeModel, number: number, spec: NativeModelSpec): Promise<void> {
    const { onProgress } = this.#options;
    const { layer, views } = await this.#layer(number, spec);
    const before = this.#experts.slice(0, number).reduce((sum, experts) => sum + experts, 0);
    const experts = this.#experts[number] as number;
    const tell = (done: number, of: number) =>
      onProgress?.(before + Math.floor((done * experts) / of), this.#total);
    await this.#run(number, (cancellation) =>
      native.addLayer(layer, views, onProgress && tell, cancellation),
    );
    // What was read of the files is held packed now: it need not count as the process's memory any longer.
    if (!this.#source.inPlace) this.#checkpoint.unmap();
    onProgress?.(before + experts, this.#total);
  }

  /** Adds what stands before and behind the layers. */
  async finish(native: NativeModel): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const { views } = await this.#source.outer();
    await this.#run(undefined, (cancellation) => native.finish(views, cancellation));
    this.#checkpoint.unmap(await this.#source.pathOfEmbedding());
    this.#options.onProgress?.(this.#total, this.#total);
  }

  get #total(): number {
    return this.#experts.reduce((sum, experts) => sum + experts, 1);
  }

  #note(...lists: (readonly string[] | undefined)[]): void {
    for (const note of lists.flatMap((list) => list ?? [])) this.#notes.add(note);
  }

  async #layer(
    number: number,
    spec: NativeModelSpec,
  ): Promise<{ layer: NativeDecoderLayer; views: NativeDecoderLayerViews }> {
    const { attention, dense } = this.#description.layers[number] as LayerOf;
    const { own, block } = await this.#stored(number, true);
    if (block !== undefined) {
      const held = deviceAt(this.#device)?.weights;
      const moe = nativeSpec(toNativeConfig(block.config), block, held);
      return {
        layer: { attention, feedForward: { kind: 'moe', spec: moe } },
        views: { ...own.views, feedForward: block.views },
      };
    }
    const feedForward = own.dense as NonNullable<LayerOfModel['dense']>;
    const ofDense = denseSpec(dense as NonNullable<LayerOf['dense']>, spec, feedForward);
    return {
      layer: { attention, feedForward: { kind: 'dense', spec: ofDense } },
      views: { ...own.views, feedForward },
    };
  }

  async #stored(number: number, reads: boolean): Promise<Stored> {
    const { dense } = this.#description.layers[number] as LayerOf;
    const own = await this.#source.layer(number, reads);
    if (dense !== undefined) return { own };
    const { weightGroup, activationType, threads } = this.#options;
    const device = deviceText(this.#device);
    const held = { device, weightType: this.#expertType, weightGroup, activationType, threads };
    return { own, block: await this.#checkpoint.parts(number, held, reads) };
  }

  /** A call that an abort stops. */
  async #run(
    layer: number | undefined,
    start: (cancellation: InstanceType<ReturnType<typeof addon>['Cancellation']>) => Promise<void>,
  ): Promise<void> {
    const cancellation = new (addon().Cancellation)();
    await inLayer(this.#checkpoint.path, layer, () =>
      settled(
        () => start(cancellation),
        this.#options.signal,
        () => cancellation.cancel(),
      ),
    );
  }
}
