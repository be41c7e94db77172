// What several rows say alike.
import type { ConfigPart, Key, Rule, Scalar, Size, Sparse } from './row.js';

/** What divides the weights in code that adds nothing to their sum. */
export const exactSum: Rule = { set: { normTopkProb: true, normTopkEpsilon: 0 } };
export const sumPlus = (normTopkEpsilon: number): Rule => ({
  set: { normTopkProb: true, normTopkEpsilon },
});
export const notDivided: Rule = { set: { normTopkProb: false } };
/** `byDefault`: the class's `norm_topk_prob`. */
export const dividedIf = (byDefault: boolean, divided: Rule): Rule => ({
  by: { key: 'norm_topk_prob', default: byDefault },
  are: { true: [divided], false: [notDivided] },
});

/** The one value that is supported, with the reason. */
export const only = (key: Key['key'], value: Scalar, reason: string): Rule => ({
  by: { key, default: value },
  are: { [String(value)]: [] },
  reason,
});

const gates = { silu: 'swiglu', swish: 'swiglu', gelu: 'geglu' };
export const gated: Rule = {
  set: { activation: { key: 'hidden_act', default: 'silu', are: gates } },
};

/** Clamps before the product, with gpt-oss' own as the default. */
export const gptOssActivation: Rule = {
  set: {
    activation: {
      key: 'hidden_act',
      default: 'silu',
      are: { silu: 'swiglu_oai', swish: 'swiglu_oai', swigluoai: 'swiglu_oai' },
    },
    activationAlpha: { key: 'swiglu_alpha', default: 1.702, neutral: 1.702 },
    activationLimit: { key: 'swiglu_limit', default: 7, neutral: 7 },
  },
};

export const clampedGate: Rule = {
  set: {
    activationLimit: { key: 'swiglu_limit', default: 10, whenZero: null, neutral: null },
    activationClamp: 'before',
  },
};

/** A bias for the choice, unless the config says that there is none. */
export const biasUnlessNone: Rule = {
  set: { balanceViaTopkBias: { key: 'use_expert_bias', default: true } },
};
/** Sigmoid scores, and a bias for the choice. */
export const sigmoidWithBias: Rule = { set: { useGatingSigmoid: true, balanceViaTopkBias: true } };

export const scaledBy = (
  key:
    | 'routed_scaling_factor'
    | 'router_scaling_factor'
    | 'route_scale'
    | 'moe_routed_scaling_factor'
    | 'moe_router_scaling_factor',
  byDefault: number,
): Rule => ({ set: { routedScalingFactor: { key, default: byDefault } } });

/** A shared expert, scaled by the sigmoid of a router of its own. */
export const sharedGate: Rule = { set: { useSharedExpertGating: true } };

export const countOf = (key: Extract<Size, { key: string }>['key'], byDefault?: number): Size => ({
  key,
  ...(byDefault !== undefined && { default: byDefault }),
});

/** Several shared experts side by side, each as wide as `width`. */
export const shareds = (
  byDefault: number,
  width: 'moe_intermediate_size' | 'intermediate_size' = 'moe_intermediate_size',
  widthByDefault?: number,
): Size => ({
  times: [
    { key: 'n_shared_experts', default: byDefault, whenNull: 0 },
    countOf(width, widthByDefault),
  ],
});

export const everyLayer: readonly Sparse[] = [{}];
const byKind: Sparse = { kinds: { key: 'mlp_layer_types', are: ['sparse'] } };
export const kindsElse = (...others: readonly Sparse[]): readonly Sparse[] => [byKind, ...others];
/** All layers but the first ones. */
export const behindFirst = (byDefault: number): Sparse => ({
  from: { key: 'first_k_dense_replace', default: byDefault },
  every: { key: 'moe_layer_freq', default: 1 },
});
export const qwenLayers: readonly Sparse[] = [
  {
    exceptNumbers: 'mlp_only_layers',
    every: { key: 'decoder_sparse_step', default: 1 },
    remainder: 'last',
  },
];

/** Weights are divided by at least 1e-12: no sum of softmax scores is below that. */
export const ernieRouter: readonly Rule[] = [
  biasUnlessNone,
  exactSum,
  only('moe_norm_min', 1e-12, 'a larger one would change weights'),
];

/** How MiniMax adds a shared expert, in models that have none. */
export const noSharedMode: Rule = { ignored: 'shared_moe_mode' };

/** Of a key that changes nothing here. */
export const either = { true: [], false: [] } as const;

/** What sigmoid models of this kind may say of themselves. */
export const alwaysSigmoid: Rule = only(
  'scoring_func',
  'sigmoid',
  'models of this type score by sigmoid',
);

/** What Hy3 and Hy4 may say of their routers. */
export const hunyuanRouter: readonly Rule[] = [
  only('moe_router_use_sigmoid', true, 'models of this type score by sigmoid'),
  biasUnlessNone,
];

export const sizes = (
  [experts, byDefault]: readonly ['num_experts' | 'num_local_experts' | 'moe_num_experts', number?],
  chosen?: number,
  width?: number,
): Pick<ConfigPart, 'experts' | 'chosen' | 'width'> => ({
  experts: countOf(experts, byDefault),
  chosen: countOf('num_experts_per_tok', chosen),
  width: countOf('moe_intermediate_size', width),
});
/** The same, with experts as wide as a dense layer. */
export const wide = (...[experts, chosen, width]: Parameters<typeof sizes>) => ({
  ...sizes(experts, chosen),
  width: countOf('intermediate_size', width),
});
