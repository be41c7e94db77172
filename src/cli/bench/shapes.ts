/** Sizes of one MoE layer. */
export interface Shape {
  hiddenSize: number;
  intermediateSize: number;
  expertNum: number;
  numExpertsChosen: number;
}

/** Layers of published models, routed experts only. */
export const shapes = {
  'bench-small': shape(2048, 1024, 16, 4),
  'olmoe-1b-7b': shape(2048, 1024, 64, 8),
  'qwen3-30b-a3b': shape(2048, 768, 128, 8),
  'qwen1.5-moe-a2.7b': shape(2048, 1408, 60, 4),
  'gpt-oss-20b': shape(2880, 2880, 32, 4),
  'mixtral-8x7b': shape(4096, 14336, 8, 2),
  'deepseek-v3': shape(7168, 2048, 256, 8),
} as const satisfies Record<string, Shape>;

export type ShapeName = keyof typeof shapes;

export const shapeNames = Object.keys(shapes) as ShapeName[];

/** Weights of all experts, in elements. */
export function expertElements({ hiddenSize, intermediateSize, expertNum }: Shape): number {
  return 3 * expertNum * intermediateSize * hiddenSize;
}

function shape(
  hiddenSize: number,
  intermediateSize: number,
  expertNum: number,
  numExpertsChosen: number,
): Shape {
  return { hiddenSize, intermediateSize, expertNum, numExpertsChosen };
}
