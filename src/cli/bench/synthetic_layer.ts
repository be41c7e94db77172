import type { MoEConfigOptions } from '../../config.js';
import type { HeldOptions } from '../../layer/options.js';
import { MoELayer } from '../../layer.js';
import type { Shape } from './shapes.js';
import { syntheticWeights } from './synthetic.js';
import { syntheticConfig } from './synthetic_config.js';

export interface SyntheticOptions extends HeldOptions {
  config?: Partial<MoEConfigOptions> | undefined;
}

/** A dropless layer of made-up weights: what `bench` measures. */
export function syntheticLayer(shape: Shape, options: SyntheticOptions): Promise<MoELayer> {
  const { config, ...rest } = options;
  return MoELayer.create({
    config: syntheticConfig(shape, config),
    hiddenSize: shape.hiddenSize,
    intermediateSize: shape.intermediateSize,
    weights: syntheticWeights(shape),
    ...rest,
  });
}
