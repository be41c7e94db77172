import { readHuggingFace } from '../../config/hugging_face.js';
import { type KnownModelName, knownModels } from './known_models.js';

/** Sizes of one MoE layer. */
export interface Shape {
  hiddenSize: number;
  intermediateSize: number;
  expertNum: number;
  numExpertsChosen: number;
}

export type ShapeName = 'bench-small' | KnownModelName;

/** Layers of published models, routed experts only. */
export const shapes = {
  'bench-small': {
    ...{ hiddenSize: 2048, intermediateSize: 1024, expertNum: 16, numExpertsChosen: 4 },
  },
  ...Object.fromEntries(
    Object.entries(knownModels).map(([name, config]) => [name, shapeOf(config)]),
  ),
} as Readonly<Record<ShapeName, Shape>>;

export const shapeNames = Object.keys(shapes) as ShapeName[];

function shapeOf(config: object): Shape {
  const { sizes, options } = readHuggingFace(config, { layer: 0 });
  const { hiddenSize, intermediateSize } = sizes;
  const { expertNum, numExpertsChosen } = options as Required<typeof options>;
  return { hiddenSize, intermediateSize, expertNum, numExpertsChosen };
}

/** Weights of all experts, in elements. */
export function expertElements({ hiddenSize, intermediateSize, expertNum }: Shape): number {
  return 3 * expertNum * intermediateSize * hiddenSize;
}
