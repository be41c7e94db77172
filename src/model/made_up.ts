import { given } from '../base/rows.js';
import type { ExpertView, MatrixView, VectorView } from '../binding/views.js';
import { configOf } from '../config/config.js';
import { huggingFaceRows, readHuggingFace } from '../config/hugging_face.js';
import type { ExpertsAt, Layout } from '../families/layout.js';
import type { FamilyRow } from '../families/row.js';
import type { Activation, ExpertOptions } from '../layer/experts.js';
import { heldRows, type LoadOptions } from '../layer/options.js';
import type { LayerParts } from '../layer/parts.js';
import type { ModelDescription } from './describe.js';
import { projectionsOf } from './held.js';
import { layerViews, outerViews, type TensorViews } from './layer_views.js';
import type { BlockSource, LayerOfModel, ModelSource, OuterOfModel } from './model_source.js';

/** bfloat16 numbers, in which every made-up matrix is a window. */
const count = 2 ** 22;
/** Rows of a matrix begin this far apart, or nearer where that is too long. */
const rowStep = 17;
/** Windows begin in this many places. */
const places = 2 ** 16;
const longestVector = 2 ** 18;

/**
 * Weights of no meaning, for a model of which there is only a config: they tell what it weighs and how fast it is. However large it is,
 * they take a few megabytes.
 */
export class MadeUpWeights implements ModelSource, BlockSource {
  readonly path = 'the made-up model';
  readonly notes = [];
  readonly inPlace = false;
  readonly projections = projectionsOf;
  readonly #config: object;
  readonly #description: ModelDescription;
  #numbers: Numbers | undefined;

  constructor(config: object, description: ModelDescription) {
    this.#config = config;
    this.#description = description;
  }

  async layer(number: number, reads = true): Promise<LayerOfModel> {
    const layer = this.#description.layers[number] as ModelDescription['layers'][number];
    const { hiddenSize } = this.#description.spec;
    return { ...layerViews(this.#tensors(reads), layer, hiddenSize), notes: [] };
  }

  async outer(reads = true): Promise<OuterOfModel> {
    return { views: outerViews(this.#tensors(reads), this.#description), notes: [] };
  }

  async pathOfEmbedding(): Promise<string> {
    return '';
  }

  unmap(): void {}

  async parts(layer: number, held: LoadOptions, reads = true): Promise<LayerParts> {
    const tensors = this.#tensors(reads);
    const reading = readHuggingFace(this.#config, { layer });
    const config = configOf(this.#config, { layer }, reading);
    const { hiddenSize, intermediateSize, sharedSize } = reading.sizes;
    // What layouts of a family have beside matrices they have in common.
    const [row] = huggingFaceRows(this.#config) as readonly [FamilyRow];
    const [layout] = row.layouts as readonly [Layout];
    const { expertNum } = config;
    const bias = (name: string) => tensors.vector(name, expertNum);
    const expert = (at: ExpertsAt, width: number) => expertOf(tensors, at, hiddenSize, width);
    const experts = layout.experts[0] as ExpertsAt;
    return {
      config,
      ...{ hiddenSize, intermediateSize, sharedSize },
      ...(reading.ofLayer as ExpertOptions & { activation: Activation }),
      views: {
        router: tensors.matrix('router', expertNum, hiddenSize),
        ...(layout.routerBias && { routerBias: bias('router.bias') }),
        ...(config.balanceViaTopkBias && { routerCorrectionBias: bias('router.choice_bias') }),
        experts: Array.from({ length: expertNum }, () => expert(experts, intermediateSize)),
        ...(sharedSize > 0 && {
          shared: expert(layout.shared?.[0] as ExpertsAt, sharedSize),
        }),
        ...(config.useSharedExpertGating && {
          sharedRouter: tensors.matrix('shared_router', 1, hiddenSize),
        }),
      },
      ...{ weightType: 'bfloat16', ...given(heldRows, held) },
    };
  }

  #tensors(reads: boolean): TensorViews {
    if (reads) this.#numbers ??= new Numbers(count);
    return this.#numbers ?? new Numbers(0);
  }
}

function expertOf(
  tensors: TensorViews,
  at: ExpertsAt,
  features: number,
  width: number,
): ExpertView {
  return {
    ...(at.gate && { gate: tensors.matrix('gate', width, features) }),
    up: tensors.matrix('up', width, features),
    down: tensors.matrix('down', features, width),
    ...(at.gateBias && { gateBias: tensors.vector('gate.bias', width) }),
    ...(at.upBias && { upBias: tensors.vector('up.bias', width) }),
    ...(at.downBias && { downBias: tensors.vector('down.bias', features) }),
  };
}

/** Norms are ones and biases zeros, so that nothing grows over the layers; matrices are noise, so that tokens go different ways. */
class Numbers implements TensorViews {
  readonly #noise: Uint16Array;
  readonly #ones: Float32Array;
  readonly #zeros: Float32Array;
  #next = 0;

  /** @param length of the noise; 0: views that are looked at only */
  constructor(length: number) {
    this.#noise = noiseOf(length);
    this.#ones = new Float32Array(length === 0 ? 0 : longestVector).fill(1);
    this.#zeros = new Float32Array(this.#ones.length);
  }

  has(): boolean {
    return false;
  }

  matrix(_name: string, outFeatures: number, inFeatures: number): MatrixView {
    this.#next = (this.#next + 40_503) % places;
    const fits = Math.floor((count - places - inFeatures) / outFeatures);
    return {
      source: this.#noise,
      byteOffset: 2 * this.#next,
      dtype: 'bfloat16',
      ...{ outFeatures, inFeatures, outStride: Math.min(rowStep, fits), inStride: 1 },
    };
  }

  vector(name: string, size: number): VectorView {
    const source = name.includes('norm') ? this.#ones : this.#zeros;
    return { source, byteOffset: 0, dtype: 'float32', size, stride: 1 };
  }
}

/** Numbers from -1/16 to 1/16. */
function noiseOf(length: number): Uint16Array {
  const noise = new Uint16Array(length);
  const number = new Float32Array(1);
  // The upper half of a float32 is its bfloat16; nothing is lost, for the lower half is 0.
  const upper = new Uint16Array(number.buffer, 2);
  for (let index = 0; index < length; index++) {
    let x = Math.imul(index + 1, 0x9e3779b1);
    x = Math.imul(x ^ (x >>> 15), 0x85ebca77);
    x ^= x >>> 13;
    number[0] = ((x >>> 24) - 128) / 2048;
    noise[index] = upper[0] as number;
  }
  return noise;
}
