export const routingPolicies = ['TopkRouterV1', 'TopkRouterV2'] as const;
/** How choices and capacity meet: in K rounds, or all at once. See `MoEConfigFields.routingPolicy`. */
export type RoutingPolicy = (typeof routingPolicies)[number];

export const topkMethods = ['greedy', 'group_limited_greedy', 'noaux_tc'] as const;
/** Among which experts a token chooses: all, or those of its best groups. */
export type TopkMethod = (typeof topkMethods)[number];

export const auxLossTypes = ['expert', 'device', 'comm'] as const;
/** What a balance loss is taken over: experts, groups of experts, or the experts of each rank. */
export type AuxLossType = (typeof auxLossTypes)[number];

/** The fields of `MoEConfig`. All but the two marked as extensions are MindFormers', under their camelCase names. */
export interface MoEConfigFields {
  /** E, the number of experts. Default 1: a plain feed-forward layer. */
  readonly expertNum: number;
  /**
   * Slots per expert, relative to an even spread of the choices. Default 1.1. At least 1 with `TopkRouterV1`. With
   * `TopkRouterV2`, 0 or less: no choice is ever dropped.
   */
  readonly capacityFactor: number;
  /** Factor of `TopkRouterV1`'s balance loss, above 0 and below 1. Default 0.05. */
  readonly auxLossFactor: number;
  /** K, the number of experts each token chooses, at most `expertNum`. Default 1. */
  readonly numExpertsChosen: number;
  /**
   * Tokens per group in which capacity is counted; null: the whole batch is one group. With the loss type `device`, the
   * number of groups of experts instead, as in MindFormers; tokens are then one group. Default null.
   */
  readonly expertGroupSize: number | null;
  /** Send each row over the slow link once per model-parallel group. The result is the same. Default false. */
  readonly groupWiseA2a: boolean;
  /** Run communication and experts in chunks, one under the other. Default false. */
  readonly compCommParallel: boolean;
  /** The number of those chunks. Default 2. */
  readonly compCommParallelDegree: number;
  /** How tokens choose experts and capacity drops choices. Default `TopkRouterV1`. */
  readonly routingPolicy: RoutingPolicy;
  /** Scores are the sigmoid of the logits, not their softmax. Default false. */
  readonly useGatingSigmoid: boolean;
  /**
   * Which experts may be chosen: all (`greedy`), or those of the best groups, scored by their best expert
   * (`group_limited_greedy`) or by the sum of their two best (`noaux_tc`). Default `greedy`.
   */
  readonly topkMethod: TopkMethod;
  /** The number of groups that the experts are split into for `topkMethod`. Default null. */
  readonly nGroup: number | null;
  /** The number of groups that `topkMethod` keeps. Default null. */
  readonly topkGroup: number | null;
  /** Extension: scores of the other groups become -infinity, as in DeepSeek-V3, and not 0. Default false. */
  readonly excludeMaskedGroups: boolean;
  /** Choose by score plus correction bias, weigh by the score alone. Default false. */
  readonly balanceViaTopkBias: boolean;
  /** Divide a token's weights by their sum, if it chooses more than one expert. Default true. */
  readonly normTopkProb: boolean;
  /** Extension: added to that sum. Default 1e-9, which is MindFormers'. */
  readonly normTopkEpsilon: number;
  /** Multiplies the weights. Default 1. */
  readonly routedScalingFactor: number;
  /** Give out slots token by token, and not all first choices before any second one. Default false. */
  readonly enableSdrop: boolean;
  /** Width of the always-on expert, in widths of a routed one; need not be whole. Default 0: none. */
  readonly sharedExpertNum: number;
  /** Scale the always-on expert's output by the sigmoid of a router of its own. Default false. */
  readonly useSharedExpertGating: boolean;
  /** I, the width of an expert. Default 1407, which leaves the width to the layer. */
  readonly moeIntermediateSize: number;
  /**
   * Balance losses of `TopkRouterV2`: over experts, over `expertGroupSize` groups of experts (`device`), or over the
   * experts of each rank (`comm`). Default null: none.
   */
  readonly auxLossTypes: readonly AuxLossType[] | null;
  /** The factor of each of them. Default null. */
  readonly auxLossFactors: readonly number[] | null;
  /** Factor of the mean squared log-sum-exp of the logits. Default 0: no such loss. */
  readonly zLossFactor: number;
}

export type FieldName = keyof MoEConfigFields;

/** What a field is when it is not given, in the order in which `toJSON` writes them. */
export const defaults: MoEConfigFields = Object.freeze({
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

export const fieldNames = Object.freeze(Object.keys(defaults)) as readonly FieldName[];

/** MindFormers' name of a camelCase field; names in snake_case stay as they are. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Written by `toJSON` only when they say something: MindFormers does not know the first two, and 1407 says nothing. */
const omittedAtDefault: readonly FieldName[] = [
  'excludeMaskedGroups',
  'normTopkEpsilon',
  'moeIntermediateSize',
];

/** The fields under MindFormers' names, as plain data. */
export function toSnakeCase(fields: MoEConfigFields): Record<string, unknown> {
  const written = fieldNames.filter(
    (name) => !omittedAtDefault.includes(name) || fields[name] !== defaults[name],
  );
  return Object.fromEntries(
    written.map((name) => {
      const value = fields[name];
      return [snakeCase(name), Array.isArray(value) ? [...value] : value];
    }),
  );
}
