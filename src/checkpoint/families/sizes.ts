/** The sizes that a layer's tensors must have. */
export interface LayerSizes {
  expertNum: number;
  hiddenSize: number;
  intermediateSize: number;
  /** Width of the shared expert, 0 without one. */
  sharedSize: number;
}
