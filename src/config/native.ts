import { expectInteger } from '../base/checks.js';
import type { NativeMoEConfig } from '../binding/native.js';
import {
  type AuxLossType,
  fieldNames,
  fieldRows,
  type MoEConfigFields,
  maxInt32,
} from './fields.js';

/** Over how many ranks a layer is spread. */
export interface ParallelSizes {
  /** Ranks that share each expert's columns. */
  modelParallel: number;
  /** Ranks, or groups of model-parallel ranks, that the experts are split over. */
  expertParallel: number;
}

/** Fields of the same name, type and meaning. */
type AsTheyAre = Omit<
  NativeMoEConfig,
  | 'tokensPerGroup'
  | 'expertCapacity'
  | 'scoreFunction'
  | 'nGroup'
  | 'topkGroup'
  | 'capacityMultiple'
  | 'auxLosses'
>;

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
  const asTheyAre = fieldNames.filter((name) => fieldRows[name].native);
  return {
    ...(Object.fromEntries(asTheyAre.map((name) => [name, config[name]])) as AsTheyAre),
    tokensPerGroup: tokensPerGroup(config),
    expertCapacity: config.expertCapacity ?? 0,
    scoreFunction: config.scoreFunction ?? (config.useGatingSigmoid ? 'sigmoid' : 'softmax'),
    nGroup: config.nGroup ?? 1,
    topkGroup: config.topkGroup ?? 1,
    capacityMultiple: capacityMultiple(config, modelParallel),
    auxLosses: (config.auxLossTypes ?? []).map((type, index) => ({
      factor: factors[index] as number,
      expertGroups: groupsOf[type],
    })),
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
