import { describe, expect, test } from 'vitest';
import { MoEConfig } from '../src/config.js';

describe('MoEConfig', () => {
  test("has MindFormers' defaults", () => {
    expect({ ...new MoEConfig() }).toEqual({
      expertNum: 1,
      capacityFactor: 1.1,
      auxLossFactor: 0.05,
      numExpertsChosen: 1,
      expertGroupSize: null,
      groupWiseA2a: false,
      compCommParallel: false,
      compCommParallelDegree: 2,
      routingPolicy: 'TopkRouterV1',
      useGatingSigmoid: false,
      topkMethod: 'greedy',
      nGroup: null,
      topkGroup: null,
      excludeMaskedGroups: false,
      balanceViaTopkBias: false,
      normTopkProb: true,
      normTopkEpsilon: 1e-9,
      routedScalingFactor: 1,
      enableSdrop: false,
      sharedExpertNum: 0,
      useSharedExpertGating: false,
      moeIntermediateSize: 1407,
      auxLossTypes: null,
      auxLossFactors: null,
      zLossFactor: 0,
    });
  });
});
