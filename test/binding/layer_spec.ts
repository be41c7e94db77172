// What a layer is, as the addon takes it.
import type { NativeLayerSpec } from '../../src/binding/native.js';

/** One expert of relu whose matrices are [width, hidden] and [hidden, width]. */
export const specOf = (
  size: number,
  weightType: NativeLayerSpec['weightType'],
  more: Partial<NativeLayerSpec> = {},
) =>
  ({
    moe: {
      ...{ expertNum: 1, capacityFactor: -1, auxLossFactor: 0, numExpertsChosen: 1 },
      ...{ tokensPerGroup: 0, expertCapacity: 0, routingPolicy: 'TopkRouterV2' },
      ...{ scoreFunction: 'softmax', topkMethod: 'greedy', nGroup: 1, topkGroup: 1 },
      ...{ excludeMaskedGroups: false, balanceViaTopkBias: false, normTopkProb: false },
      ...{ normTopkEpsilon: 0, routedScalingFactor: 1, enableSdrop: false, capacityMultiple: 1 },
      ...{ auxLosses: [], zLossFactor: 0, sparsemixerEpsilon: 0.01, logitSoftCap: 0 },
      ...{ chooseByLogit: false, normTopkSingle: false, zeroExpertNum: 0 },
      ...{ alwaysChosenExpertNum: 0, weightOnInput: false, sharedExpertScale: 1 },
    },
    ...{ hiddenSize: size, intermediateSize: size, sharedSize: 0, latentSize: 0 },
    activation: { kind: 'relu', alpha: 1, limit: Infinity, clamp: 'before' },
    sharedActivation: { kind: 'relu', alpha: 1, limit: Infinity, clamp: 'before' },
    ...{ weightType, weightGroup: 0, activationType: 'float', threads: 1, maxQueue: 1 },
    ...more,
  }) as NativeLayerSpec;
