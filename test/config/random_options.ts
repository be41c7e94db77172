import type { MoEConfigOptions } from '../../src/config/config.js';
import { generator } from '../support/layers.js';

/** Options that a MoEConfig takes, all of the fields varied. */
export function randomOptions(seed: number): MoEConfigOptions {
  const random = generator(seed);
  const integer = (min: number, max: number) => min + Math.floor(random() * (max - min + 1));
  const flag = () => random() < 0.5;
  const nGroup = 2 ** integer(0, 3);
  const topkGroup = integer(1, nGroup);
  const expertNum = nGroup * integer(1, 32);
  const numExpertsChosen = integer(1, (expertNum / nGroup) * topkGroup);
  const sharedExpertNum = flag() ? 0 : integer(1, 40) / 8;
  const options: MoEConfigOptions = {
    expertNum,
    capacityFactor: 1 + random(),
    auxLossFactor: 0.001 + random() * 0.9,
    numExpertsChosen,
    expertGroupSize: flag() ? null : integer(1, 4096),
    groupWiseA2a: flag(),
    compCommParallel: flag(),
    compCommParallelDegree: integer(1, 8),
    sharedExpertNum,
    useSharedExpertGating: sharedExpertNum > 0 && flag(),
    moeIntermediateSize: flag() ? 1407 : integer(1, 8192),
  };
  if (flag()) return options;
  const types = (['expert', 'comm', 'device'] as const).slice(0, integer(0, 3));
  return {
    ...options,
    routingPolicy: 'TopkRouterV2',
    capacityFactor: flag() ? -1 : random() * 2,
    expertGroupSize: types.includes('device') ? nGroup : (options.expertGroupSize ?? null),
    useGatingSigmoid: flag(),
    ...(flag()
      ? {
          topkMethod: flag() ? 'noaux_tc' : 'group_limited_greedy',
          nGroup,
          topkGroup,
          excludeMaskedGroups: flag(),
        }
      : {}),
    balanceViaTopkBias: flag(),
    normTopkProb: flag(),
    normTopkEpsilon: flag() ? 1e-9 : random() * 1e-19,
    routedScalingFactor: 0.1 + random() * 16,
    enableSdrop: flag(),
    ...(flag() ? { auxLossTypes: types, auxLossFactors: types.map(() => random()) } : {}),
    zLossFactor: flag() ? 0 : random(),
    logitSoftCap: flag() ? 0 : 1 + random(),
    weightOnInput: flag(),
    ...(sharedExpertNum > 0 && { sharedExpertScale: 0.1 + random() }),
    ...(flag() && { capacityFactor: -1, expertCapacity: integer(1, 64) }),
  };
}
