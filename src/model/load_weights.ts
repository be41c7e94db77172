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
import { toNativeConfig } from '../config/native.js';
import { checkParts, nativeSpec } from '../layer/parts.js';
import type { ModelDescription } from './describe.js';
import { denseSpec, modelSpec } from './held.js';
import type { LayerOfModel } from './model_tensors.js';
import type { ModelLoadOptions } from './options.js';
import type { SourceLayer, WeightSource } from './weight_source.js';

/** @throws what `loadModel` throws */
export async function loadWeights(
  source: WeightSource,
  description: ModelDescription,
  device: ResolvedDevice,
  options: ModelLoadOptions,
): Promise<{ native: NativeModel; notes: readonly string[] }> {
  const loader = new Loader(source, description, device, options);
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

/**
 * Looks at all that would be loaded.
 *
 * @returns sentences about what has no effect
 * @throws what `loadModel` throws
 */
export async function checkWeights(
  source: WeightSource,
  description: ModelDescription,
  device: ResolvedDevice,
  options: ModelLoadOptions,
): Promise<readonly string[]> {
  const loader = new Loader(source, description, device, options);
  await loader.check();
  return [...loader.notes];
}

class Loader {
  readonly #source: WeightSource;
  readonly #description: ModelDescription;
  readonly #device: ResolvedDevice;
  readonly #held: ReturnType<typeof heldOn>;
  readonly #options: ModelLoadOptions;
  /** Experts of each layer, 1 of a dense one: what progress is counted by. */
  readonly #experts: number[] = [];
  readonly notes: Set<string>;

  constructor(
    source: WeightSource,
    description: ModelDescription,
    device: ResolvedDevice,
    options: ModelLoadOptions,
  ) {
    this.#source = source;
    this.#description = description;
    this.#device = device;
    this.#held = heldOn(device);
    this.#options = options;
    this.notes = new Set([...description.notes, ...source.notes]);
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
    const outer = await this.#source.outer(false);
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
      this.#source.layerHeld();
      before += experts;
      onProgress?.(before, total);
    }
    signal?.throwIfAborted();
    const { embedding, norm, head } = await this.#source.outer(true);
    await this.#run(undefined, (cancellation) =>
      native.finish(embedding, norm, head, cancellation),
    );
    await this.#source.allHeld();
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

  #stored(number: number, reads: boolean): Promise<SourceLayer> {
    const { weightType, weightGroup, activationType, threads } = this.#options;
    return this.#source.layer(number, { weightType, weightGroup, activationType, threads }, reads);
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
      throw new CheckpointError(`${where}${this.#source.name}: ${error.message}`, {
        cause: error,
      });
    }
  }
}

type LayerOf = ModelDescription['layers'][number];

const heldOn = (device: ResolvedDevice) => deviceAt(device)?.weights;
