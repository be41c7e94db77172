import { defaults, type MoEConfigFields } from './fields.js';

/** One sentence for each field that differs from its default and changes nothing next to the others. */
export function diagnose(config: MoEConfigFields): string[] {
  const isV2 = config.routingPolicy === 'TopkRouterV2';
  const isDropless = isV2 && config.capacityFactor <= 0;
  const hasLosses = !isV2 || (config.auxLossTypes ?? []).length > 0 || config.zLossFactor !== 0;
  const normalises = config.normTopkProb && config.numExpertsChosen > 1;

  const sentences: [applies: boolean, sentence: string][] = [
    [
      config.groupWiseA2a,
      '`groupWiseA2a` changes how ranks exchange rows, never the result, and needs model parallelism.',
    ],
    [
      config.compCommParallel && isV2 && !isDropless,
      '`compCommParallel` only rounds capacity up to a multiple of `compCommParallelDegree` in a single process.',
    ],
    [
      config.compCommParallel && (!isV2 || isDropless),
      '`compCommParallel` overlaps communication and experts, never changes the result, and needs several processes.',
    ],
    [
      !config.compCommParallel && config.compCommParallelDegree !== defaults.compCommParallelDegree,
      '`compCommParallelDegree` has an effect only with `compCommParallel`.',
    ],
    [
      isV2 && config.auxLossFactor !== defaults.auxLossFactor,
      "`auxLossFactor` has an effect only with routingPolicy 'TopkRouterV1'; 'TopkRouterV2' has `auxLossFactors`.",
    ],
    [
      config.expertGroupSize !== null && isDropless && !hasLosses,
      '`expertGroupSize` has no effect without a capacity or a loss.',
    ],
    [
      config.enableSdrop && isDropless,
      '`enableSdrop` has no effect when `capacityFactor` lets no choice be dropped.',
    ],
    [
      !config.normTopkProb && config.numExpertsChosen === 1,
      '`normTopkProb` has no effect when a token chooses one expert.',
    ],
    [
      config.normTopkEpsilon !== defaults.normTopkEpsilon && !normalises,
      '`normTopkEpsilon` has no effect when weights are not normalised.',
    ],
    [
      config.topkGroup !== null && config.topkGroup === config.nGroup,
      '`topkMethod` has no effect when `topkGroup` keeps all of the `nGroup` groups.',
    ],
  ];
  return sentences.filter(([applies]) => applies).map(([, sentence]) => sentence);
}
