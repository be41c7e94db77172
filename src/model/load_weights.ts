// A model's weights, layer by layer onto a device.
import { CheckpointError, ShapeError } from '../base/errors.js';
import { addon } from '../binding/addon.js';
import { deviceAt, type ResolvedDevice } from '../binding/devices.js';
import type {
  NativeDecoderLayer,
  NativeDecoderLayerViews,
  NativeModel,
  NativeModelSpec,
} from '../binding/model.js';
import { settled } from '../binding/settled.js';
import type { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { toNativeConfig } from '../config/native.js';
import { checkParts, type LayerParts, nativeSpec } from '../layer/parts.js';
import type { ModelDescription } from './describe.js';
import { denseSpec, modelSpec } from './held.js';
import { type LayerOfModel, ModelTensors } from './model_tensors.js';
import type { ModelLoadOptions } from './options.js';

/** A layer as it stands in the files; `block` is absent for a dense one. */
interface Stored {
  own: LayerOfModel;
  block?: LayerParts;
}

/** @throws what `loadModel` throws */
export async function loadWeights(
  checkpoint: MoECheckpoint,
  description: ModelDescription,
  device: ResolvedDevice,
  options: ModelLoadOptions,
): Promise<{ native: NativeModel; notes: readonly string[] }> {
  const loader = new Loader(checkpoint, description, device, options);
  const spec = await loader.check();
  const { signal } = options;
  const native = await settled(
    () => addon().createModel(device.backend, device.index, spec),
    signal,
  );
  try {
    await loader.load(native, spec);
    return { native, notes: [...loader.notes] };
  } catch (error) {
    await settled(() => native.close());
    throw error;
  }
}

class Loader {
  readonly #checkpoint: MoECheckpoint;
  readonly #description: ModelDescription;
  readonly #device: ResolvedDevice;
  readonly #held: ReturnType<typeof heldOn>;
  readonly #options: ModelLoadOptions;
  readonly #tensors: ModelTensors;
  /** Experts of each layer, 1 of a dense one: what progress is counted by. */
  readonly #experts: number[] = [];
  readonly notes: Set<string>;

  constructor(
    checkpoint: MoECheckpoint,
    description: ModelDescription,
    device: ResolvedDevice,
    options: ModelLoadOptions,
  ) {
    this.#checkpoint = checkpoint;
    this.#description = description;
    this.#device = device;
    this.#held = heldOn(device);
    this.#options = options;
    this.#tensors = new ModelTensors(checkpoint, description);
    this.notes = new Set([...description.notes, ...this.#tensors.notes]);
  }

  /** Looks at all tensors: a model whose last layer lacks one is refused before its first one is packed. */
  async check(): Promise<NativeModelSpec> {
    const layers: LayerOfModel[] = [];
    for (const number of this.#description.layers.keys()) {
      const { own, block } = await this.#stored(number, false);
      layers.push(own);
      this.#experts.push(block?.config.expertNum ?? 1);
      if (block !== undefined) checkParts(block, this.#device, this.#held);
      for (const note of [
        ...own.notes,
        ...(block?.notes ?? []),
        ...(block?.config.diagnostics ?? []),
      ])
        this.notes.add(note);
    }
    const outer = await this.#tensors.outer(false);
    for (const note of outer.notes) this.notes.add(note);
    return modelSpec(this.#description.spec, this.#options, this.#held, layers, outer);
  }

  async load(native: NativeModel, spec: NativeModelSpec): Promise<void> {
    const { signal, onProgress } = this.#options;
    const total = this.#experts.reduce((sum, experts) => sum + experts, 1);
    let before = 0;
    for (const [number, experts] of this.#experts.entries()) {
      const { layer, views } = await this.#layer(number, spec);
      const told = before;
      const tell = (done: number, of: number) =>
        onProgress?.(told + Math.floor((done * experts) / of), total);
      await this.#run(number, (cancellation) =>
        native.addLayer(layer, views, onProgress && tell, cancellation),
      );
      // What was read of the files is held packed now: it need not count as the process's memory any longer.
      this.#checkpoint.unmap();
      before += experts;
      onProgress?.(before, total);
    }
    signal?.throwIfAborted();
    const { embedding, norm, head } = await this.#tensors.outer();
    await this.#run(undefined, (cancellation) =>
      native.finish(embedding, norm, head, cancellation),
    );
    this.#checkpoint.unmap(await this.#tensors.pathOfEmbedding());
    onProgress?.(total, total);
  }

  async #layer(
    number: number,
    spec: NativeModelSpec,
  ): Promise<{ layer: NativeDecoderLayer; views: NativeDecoderLayerViews }> {
    const { attention, dense } = this.#description.layers[number] as LayerOf;
    const { own, block } = await this.#stored(number, true);
    const views = { attention: own.attention, feedForwardNorm: own.feedForwardNorm };
    if (block !== undefined) {
      const moe = nativeSpec(toNativeConfig(block.config), block, this.#held);
      return {
        layer: { attention, feedForward: { kind: 'moe', spec: moe } },
        views: { ...views, feedForward: block.views },
      };
    }
    const feedForward = own.dense as NonNullable<LayerOfModel['dense']>;
    const ofDense = denseSpec(dense as NonNullable<LayerOf['dense']>, spec, feedForward);
    return {
      layer: { attention, feedForward: { kind: 'dense', spec: ofDense } },
      views: { ...views, feedForward },
    };
  }

  async #stored(number: number, reads: boolean): Promise<Stored> {
    const { dense } = this.#description.layers[number] as LayerOf;
    const own = await this.#tensors.layer(number, reads);
    if (dense !== undefined) return { own };
    const { weightType, weightGroup, activationType, threads } = this.#options;
    const held = { weightType, weightGroup, activationType, threads };
    return { own, block: await this.#checkpoint.parts(number, held, reads) };
  }

  /** A call that an abort stops; what its weights lack is the checkpoint's fault. */
  async #run(
    layer: number | undefined,
    start: (cancellation: InstanceType<ReturnType<typeof addon>['Cancellation']>) => Promise<void>,
  ): Promise<void> {
    const cancellation = new (addon().Cancellation)();
    try {
      await settled(
        () => start(cancellation),
        this.#options.signal,
        () => cancellation.cancel(),
      );
    } catch (error) {
      if (!(error instanceof ShapeError)) throw error;
      const where = layer === undefined ? '' : `Layer ${layer} of `;
      throw new CheckpointError(`${where}${this.#checkpoint.path}: ${error.message}`, {
        cause: error,
      });
    }
  }
}

type LayerOf = ModelDescription['layers'][number];

const heldOn = (device: ResolvedDevice) => deviceAt(device)?.weights;
