import type { MoEConfigOptions } from '../../config.js';
import type { DeviceName } from '../../devices.js';
import type { ExpertGroup } from '../../group.js';
import { MoELayer, type WeightGroup, type WeightType } from '../../layer.js';
import type { Shape } from './shapes.js';
import { syntheticWeights } from './synthetic.js';

export interface SyntheticOptions {
  weightType: WeightType;
  weightGroup?: WeightGroup | undefined;
  device: DeviceName;
  threads?: number | undefined;
  config?: Partial<MoEConfigOptions> | undefined;
  group?: ExpertGroup | undefined;
  unevenExperts?: boolean | undefined;
}

/** A dropless layer of made-up weights: what `bench` measures. */
export function syntheticLayer(shape: Shape, options: SyntheticOptions): Promise<MoELayer> {
  const { config, ...rest } = options;
  return MoELayer.create({
    config: {
      expertNum: shape.expertNum,
      numExpertsChosen: shape.numExpertsChosen,
      routingPolicy: 'TopkRouterV2',
      capacityFactor: 0,
      normTopkProb: true,
      ...config,
    },
    hiddenSize: shape.hiddenSize,
    intermediateSize: shape.intermediateSize,
    weights: syntheticWeights(shape),
    ...rest,
  });
}
