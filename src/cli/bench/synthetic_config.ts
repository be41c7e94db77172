import { MoEConfig, type MoEConfigOptions } from '../../config.js';
import type { Shape } from './shapes.js';

/** How a layer of made-up weights routes: without capacity, where nothing else is said. */
export function syntheticConfig(shape: Shape, config: Partial<MoEConfigOptions> = {}): MoEConfig {
  return new MoEConfig({
    expertNum: shape.expertNum,
    numExpertsChosen: shape.numExpertsChosen,
    routingPolicy: 'TopkRouterV2',
    capacityFactor: 0,
    normTopkProb: true,
    ...config,
  });
}
