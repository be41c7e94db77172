// The tensors of a whole model: which belong to which layer, and that none is passed over.
import { CheckpointError } from '../base/errors.js';
import type { NativeFile } from '../binding/views.js';
import type { MoECheckpoint } from '../checkpoint/checkpoint.js';
import type { TensorFile } from '../checkpoint/containers/tensor_file.js';
import { mayBeFeedForward } from '../checkpoint/families/layer_parts.js';
import { LayerTensors } from '../checkpoint/families/layer_tensors.js';
import { entriesOf, storedTensors } from '../checkpoint/stored.js';
import type { ModelDescription } from './describe.js';
import { isCacheScale, isFurther, isTable, layerRoot, outerTensors } from './families/tensors.js';
import { projectionsOf } from './held.js';
import { layerViews, outerViews } from './layer_views.js';
import type { LayerOfModel, ModelSource, OuterOfModel } from './model_source.js';

const layerName = new RegExp(`^${layerRoot.replaceAll('.', '\\.')}(0|[1-9]\\d{0,5})\\.(.+)$`);

export class ModelTensors implements ModelSource {
  readonly inPlace = false;
  readonly projections = projectionsOf;
  readonly #checkpoint: MoECheckpoint;
  readonly #description: ModelDescription;
  /** Names inside layers, by their numbers. */
  readonly #layers = new Map<number, string[]>();
  readonly #outer: string[] = [];
  readonly notes: string[] = [];

  /** @throws `CheckpointError` for a layer that is not of the kind that the config says */
  constructor(checkpoint: MoECheckpoint, description: ModelDescription) {
    this.#checkpoint = checkpoint;
    this.#description = description;
    const { length } = description.layers;
    const further: string[] = [];
    const scales: string[] = [];
    for (const name of checkpoint.tensors.names) {
      const [, number, local] = layerName.exec(name) ?? [];
      if (isTable(name)) continue;
      if (isFurther(name) || Number(number) >= length) further.push(name);
      else if (isCacheScale(name)) scales.push(name);
      else if (local === undefined) this.#outer.push(name);
      else this.#namesOf(Number(number)).push(local);
    }
    this.#note(further, 'of layers that predict further tokens are not read');
    this.#note(scales, 'are scales of a cache in 8 bits, and have no effect');
    for (const [layer, { dense }] of description.layers.entries())
      if (dense === undefined && !checkpoint.layers.includes(layer))
        throw new CheckpointError(
          `Expected layer ${layer} of ${checkpoint.path} to have a router and experts, as its config says, got none`,
        );
  }

  async layer(number: number, reads = true): Promise<LayerOfModel> {
    const description = this.#description.layers[number] as ModelDescription['layers'][number];
    const { hiddenSize } = this.#description.spec;
    const { dense } = description;
    const names = this.#namesOf(number).filter(
      (name) => dense !== undefined || !mayBeFeedForward(name),
    );
    const tensors = await this.#tensors(`${layerRoot}${number}.`, names, reads);
    const views = layerViews(tensors, description, hiddenSize);
    return { ...views, notes: tensors.expectAllRead() };
  }

  async outer(reads = true): Promise<OuterOfModel> {
    const { tied } = this.#description;
    const isLeftOut = (name: string) => tied && name === outerTensors.head;
    const names = this.#outer.filter((name) => !isLeftOut(name));
    const tensors = await this.#tensors('', names, reads);
    const views = outerViews(tensors, this.#description);
    const notes = this.#outer
      .filter(isLeftOut)
      .map((name) => `\`${name}\` is not read: the config ties the output head to the embedding`);
    return { views, notes: [...notes, ...tensors.expectAllRead()] };
  }

  async pathOfEmbedding(): Promise<string> {
    const { path } = await this.#checkpoint.tensors.fileOf(outerTensors.embedding);
    return path;
  }

  async #tensors(prefix: string, names: readonly string[], reads: boolean): Promise<LayerTensors> {
    const stored = await storedTensors(this.#checkpoint.tensors, { prefix, names });
    const { claims } = this.#checkpoint;
    claims?.expectReadable(entriesOf(stored));
    const map = (file: TensorFile): NativeFile => this.#checkpoint.map(file);
    return new LayerTensors(
      prefix,
      stored,
      reads ? map : undefined,
      undefined,
      claims?.quantisation,
    );
  }

  #namesOf(layer: number): string[] {
    const names = this.#layers.get(layer) ?? [];
    this.#layers.set(layer, names);
    return names;
  }

  #note(names: readonly string[], what: string): void {
    const [first] = names;
    if (first === undefined) return;
    this.notes.push(`${names.length} tensors (${first}${names.length > 1 ? ', …' : ''}) ${what}`);
  }
}
