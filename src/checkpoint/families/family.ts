import type { LayerViews } from '../../binding/views.js';
import type { MoEConfig } from '../../config/config.js';
import type { Activation } from '../../layer/experts.js';
import type { DType } from '../../layer/weights.js';
import type { LayerTensors } from './layer_tensors.js';

/** The sizes that a layer's tensors must have. */
export interface LayerSizes {
  expertNum: number;
  hiddenSize: number;
  intermediateSize: number;
  /** Width of the shared expert, 0 without one. */
  sharedSize: number;
}

/** What the tensors alone say about a layer. */
export interface LayerMeasure extends LayerSizes {
  weightType: DType;
  /** What the family's experts compute unless a config says otherwise. */
  activation: Activation;
}

/** How a family of models names an MoE layer's tensors and lays them out. The model type says how the layer routes. */
export interface Family {
  readonly name: string;
  /** `model_type`s whose layers are stored like this; absent: any. */
  readonly modelTypes?: readonly string[];
  /** Names of the router's weight inside a layer. A layer is an MoE layer of this family when it has one of them. */
  readonly routers: readonly string[];
  /** Reads sizes and type off the tensors' shapes. Throws `CheckpointError` where they cannot be told. */
  measure(tensors: LayerTensors): LayerMeasure;
  /**
   * Views of every weight.
   *
   * @throws `CheckpointError` naming tensor and file, where a shape does not fit the sizes or a tensor that the config
   *   asks for is missing
   */
  views(tensors: LayerTensors, sizes: LayerSizes, config: MoEConfig): LayerViews;
}

/** Where a family says how wide an expert is: a dimension of one of its tensors, whose type is that of the experts. */
export interface WidthAt {
  name: string;
  rank: number;
  axis: number;
}

/** Measures a layer without a shared expert. The router is `[E, H]`. */
export function measureRouted(
  tensors: LayerTensors,
  router: string,
  { name, rank, axis }: WidthAt,
  activation: Activation,
): LayerMeasure {
  const [expertNum, hiddenSize] = tensors.shape(router, 2) as [number, number];
  const intermediateSize = tensors.shape(name, rank)[axis] as number;
  const weightType = tensors.dtype(name);
  return { expertNum, hiddenSize, intermediateSize, sharedSize: 0, weightType, activation };
}
