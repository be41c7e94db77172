import type { NativeActivation } from '../binding/native.js';
import type { MoEConfigFields } from './fields.js';
import type { HuggingFaceKeys } from './hugging_face_keys.js';

/** How a family of models routes, in terms of its `config.json`. */
export interface HuggingFaceFamily {
  readonly experts: string;
  readonly width: string;
  /** Width of the always-on expert, 0 without one. */
  sharedSize(keys: HuggingFaceKeys): number;
  /** What its experts compute where `hidden_act` does not say it. */
  readonly activation?: NativeActivation['kind'];
  /** The values of `hidden_act` that it may have, where they are fewer than those of others. */
  readonly activations?: readonly ('silu' | 'swish')[];
  /** What differs from softmax scores, all experts open, weights divided by their exact sum. */
  routing(keys: HuggingFaceKeys): Partial<MoEConfigFields>;
}

const none = () => 0;

/** What divides the weights in code that adds nothing to their sum. */
const exactSum = { normTopkProb: true, normTopkEpsilon: 0 };
const normalisedIf = (normalised: boolean) => (normalised ? exactSum : { normTopkProb: false });

const mixtral: HuggingFaceFamily = {
  experts: 'num_local_experts',
  width: 'intermediate_size',
  sharedSize: none,
  routing: () => exactSum,
};

const gptOss: HuggingFaceFamily = {
  ...mixtral,
  activation: 'swiglu_oai',
  activations: ['silu', 'swish'],
  routing(keys) {
    const reason = 'the activation of gpt_oss has it built in';
    keys.only('swiglu_limit', 7, reason);
    keys.only('swiglu_alpha', 1.702, reason);
    return exactSum;
  },
};

const granite: HuggingFaceFamily = {
  ...mixtral,
  sharedSize: (keys) => keys.countOrNone('shared_intermediate_size', 0),
};

const olmoe: HuggingFaceFamily = {
  experts: 'num_experts',
  width: 'intermediate_size',
  sharedSize: none,
  routing: (keys) => normalisedIf(keys.flag('norm_topk_prob', false)),
};

const qwen3: HuggingFaceFamily = {
  ...olmoe,
  width: 'moe_intermediate_size',
};

const qwen2: HuggingFaceFamily = {
  ...qwen3,
  sharedSize: (keys) => keys.count('shared_expert_intermediate_size'),
  routing: (keys) => ({ ...qwen3.routing(keys), useSharedExpertGating: true }),
};

/** `numShared`: the class's default of `n_shared_experts`. */
function deepseek(numShared: number): Omit<HuggingFaceFamily, 'routing'> {
  return {
    experts: 'n_routed_experts',
    width: 'moe_intermediate_size',
    sharedSize: (keys) =>
      keys.countOrNone('n_shared_experts', numShared) * keys.count('moe_intermediate_size'),
  };
}

const deepseekV2: HuggingFaceFamily = {
  ...deepseek(2),
  routing(keys) {
    keys.only('scoring_func', 'softmax', 'deepseek_v2 scores by softmax');
    keys.only('norm_topk_prob', false, "Transformers ignores it and the model's own code does not");
    const topkMethod = keys.oneOf('topk_method', ['greedy', 'group_limited_greedy'], 'greedy');
    return {
      normTopkProb: false,
      routedScalingFactor: keys.number('routed_scaling_factor', 1),
      ...(topkMethod === 'greedy' ? {} : groupsOf(keys, topkMethod)),
    };
  },
};

/** Sigmoid scores, a bias for the choice, the sum of a group's two best. */
function deepseekV3(byDefault: {
  numShared: number;
  groups?: number;
  normalised: boolean;
  scaling: number;
}): HuggingFaceFamily {
  return {
    ...deepseek(byDefault.numShared),
    routing(keys) {
      keys.oneOf('scoring_func', ['sigmoid', 'noaux_tc'], 'sigmoid'); // dots1 writes noaux_tc and means the same
      keys.only('topk_method', 'noaux_tc', 'models of this type choose by score and bias');
      return {
        useGatingSigmoid: true,
        balanceViaTopkBias: true,
        ...groupsOf(keys, 'noaux_tc', byDefault.groups),
        ...(keys.flag('norm_topk_prob', byDefault.normalised)
          ? { normTopkEpsilon: 1e-20 }
          : { normTopkProb: false }),
        routedScalingFactor: keys.number('routed_scaling_factor', byDefault.scaling),
      };
    },
  };
}

/** Nothing when every group is kept. DeepSeek-V2 sets the scores of other groups to 0, DeepSeek-V3 excludes them. */
function groupsOf(
  keys: HuggingFaceKeys,
  topkMethod: 'group_limited_greedy' | 'noaux_tc',
  byDefault?: number,
): Partial<MoEConfigFields> {
  const nGroup = keys.count('n_group', byDefault);
  const topkGroup = keys.count('topk_group', byDefault);
  if (nGroup === topkGroup) return {};
  return { topkMethod, nGroup, topkGroup, excludeMaskedGroups: topkMethod === 'noaux_tc' };
}

/** By `model_type`. */
export const huggingFaceFamilies: ReadonlyMap<string, HuggingFaceFamily> = new Map([
  ['mixtral', mixtral],
  ['qwen2_moe', qwen2],
  ['qwen3_moe', qwen3],
  ['olmoe', olmoe],
  ['deepseek_v2', deepseekV2],
  ['deepseek_v3', deepseekV3({ numShared: 1, normalised: true, scaling: 2.5 })],
  ['glm4_moe', deepseekV3({ numShared: 1, groups: 1, normalised: true, scaling: 1 })],
  ['dots1', deepseekV3({ numShared: 0, groups: 1, normalised: false, scaling: 1 })],
  ['gpt_oss', gptOss],
  ['granitemoe', granite],
  ['granitemoeshared', granite],
]);
