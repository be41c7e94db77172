import { expectInteger } from '../checks.js';
import type { NativeMoEConfig } from '../native.js';
import { maxInt32 } from './check_fields.js';
import type { AuxLossType, MoEConfigFields } from './fields.js';

/** Over how many ranks a layer is spread. */
export interface ParallelSizes {
  /** Ranks that share each expert's columns. */
  modelParallel: number;
  /** Ranks, or groups of model-parallel ranks, that the experts are split over. */
  expertParallel: number;
}

/** The config as native code takes it: every field a number, a boolean or a name. */
export function toNativeConfig(
  config: MoEConfigFields,
  { modelParallel, expertParallel }: ParallelSizes = { modelParallel: 1, expertParallel: 1 },
): NativeMoEConfig {
  const groupsOf: Record<AuxLossType, number> = {
    expert: config.expertNum,
    device: config.expertGroupSize ?? 1,
    comm: expertParallel,
  };
  const factors = config.auxLossFactors ?? [];
  return {
    expertNum: config.expertNum,
    capacityFactor: config.capacityFactor,
    auxLossFactor: config.auxLossFactor,
    numExpertsChosen: config.numExpertsChosen,
    tokensPerGroup: tokensPerGroup(config),
    routingPolicy: config.routingPolicy,
    useGatingSigmoid: config.useGatingSigmoid,
    topkMethod: config.topkMethod,
    nGroup: config.nGroup ?? 1,
    topkGroup: config.topkGroup ?? 1,
    excludeMaskedGroups: config.excludeMaskedGroups,
    balanceViaTopkBias: config.balanceViaTopkBias,
    normTopkProb: config.normTopkProb,
    normTopkEpsilon: config.normTopkEpsilon,
    routedScalingFactor: config.routedScalingFactor,
    enableSdrop: config.enableSdrop,
    capacityMultiple: capacityMultiple(config, modelParallel),
    auxLosses: (config.auxLossTypes ?? []).map((type, index) => ({
      factor: factors[index] as number,
      expertGroups: groupsOf[type],
    })),
    zLossFactor: config.zLossFactor,
  };
}

function tokensPerGroup({ auxLossTypes, expertGroupSize }: MoEConfigFields): number {
  return auxLossTypes?.includes('device') ? 0 : (expertGroupSize ?? 0);
}

/** What `TopkRouterV2` rounds capacity up to. `TopkRouterV1` pads after it has dropped, which changes nothing. */
function capacityMultiple(config: MoEConfigFields, modelParallel: number): number {
  if (config.routingPolicy === 'TopkRouterV1') return 1;
  const multiple = modelParallel * (config.compCommParallel ? config.compCommParallelDegree : 1);
  expectInteger('modelParallel * compCommParallelDegree', multiple, 1, maxInt32);
  return multiple;
}
