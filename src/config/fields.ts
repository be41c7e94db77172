import { boolean, choice, expectKind, integer, type Kind, list, number } from '../base/rows.js';

export const routingPolicies = ['TopkRouterV1', 'TopkRouterV2'] as const;
/** How choices and capacity meet: in K rounds, or all at once. See `MoEConfigFields.routingPolicy`. */
export type RoutingPolicy = (typeof routingPolicies)[number];

export const topkMethods = ['greedy', 'group_limited_greedy', 'noaux_tc'] as const;
/** Among which experts a token chooses: all, or those of its best groups. */
export type TopkMethod = (typeof topkMethods)[number];

export const scoreFunctions = ['sqrtsoftplus', 'sparsemixer'] as const;
/** What scores are besides softmax and sigmoid. See `MoEConfigFields.scoreFunction`. */
export type ScoreFunction = (typeof scoreFunctions)[number];

export const auxLossTypes = ['expert', 'device', 'comm'] as const;
/** What a balance loss is taken over: experts, groups of experts, or the experts of each rank. */
export type AuxLossType = (typeof auxLossTypes)[number];

/** The fields of `MoEConfig`. All but those marked as extensions are MindFormers', under their camelCase names. */
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
  /**
   * Extension: scores other than softmax and sigmoid. `sqrtsoftplus`: the square root of log(1 + e^logit). `sparsemixer`:
   * Phi-3.5-MoE's two rounds, in each of which the best logit left is chosen and weighed by a softmax over the logits close
   * to it; K is 2, and nothing is normalised. Default null: softmax, or sigmoid with `useGatingSigmoid`.
   */
  readonly scoreFunction: ScoreFunction | null;
  /**
   * Extension: with `sparsemixer`, a logit l is close to the best one m where (m - l) / max(|l|, m) is at most twice this.
   * Default 0.01.
   */
  readonly sparsemixerEpsilon: number;
  /** Extension: logits become `c * tanh(logit / c)` for this c. Default 0: they stay as they are. */
  readonly logitSoftCap: number;
  /** Extension: experts are chosen by logit, and weighed by score: scores that round to the same float32 do not tie. Default false. */
  readonly chooseByLogit: boolean;
  /** Extension: `normTopkProb` divides the weight of a single choice, too. Default false. */
  readonly normTopkSingle: boolean;
  /**
   * Extension: Z experts without weights, numbered from `expertNum` on, that give back what they get. The router, its bias and
   * its correction bias have `expertNum` + Z rows; `expertLoad` and capacity count none of them. Default 0.
   */
  readonly zeroExpertNum: number;
  /**
   * Extension: this many of the experts, the last ones, are chosen by every token, as the last of its K choices. Their scores
   * take part in the normalisation. Default 0.
   */
  readonly alwaysChosenExpertNum: number;
  /** Extension: weights multiply what experts read instead of what they give: expert(weight * token). Default false. */
  readonly weightOnInput: boolean;
  /** Extension: multiplies the always-on expert's output. Default 1. */
  readonly sharedExpertScale: number;
  /**
   * Extension: slots per expert in each group of `expertGroupSize` tokens as a number, in place of what `capacityFactor` gives.
   * Default null.
   */
  readonly expertCapacity: number | null;
}

export type FieldName = keyof MoEConfigFields;

/** Native code counts experts, choices and groups in 32 bits. */
export const maxInt32 = 2 ** 31 - 1;

/** One field: what it is when it is not given, and what it may be. What fields demand of each other: check_fields.ts. */
interface FieldRow<Value> {
  readonly default: Value;
  readonly kind: Kind;
  readonly orNull?: null extends Value ? true : never;
  /** The policy that alone has it; another takes nothing but the default. */
  readonly only?: RoutingPolicy;
  /** Native code takes it as it is. */
  readonly native?: true;
  /** `toJSON` leaves it out at its default: MindFormers does not know it, or the default says nothing. */
  readonly omitted?: true;
}

const count = integer(1, maxInt32);
const only = 'TopkRouterV2';
const native = true;
const orNull = true;
const omitted = true;

/** Every field, in the order in which `toJSON` writes them. */
export const fieldRows: { readonly [Name in FieldName]: FieldRow<MoEConfigFields[Name]> } = {
  expertNum: { default: 1, kind: count, native },
  capacityFactor: { default: 1.1, kind: number(), native },
  auxLossFactor: { default: 0.05, kind: number({ above: 0 }), native },
  numExpertsChosen: { default: 1, kind: count, native },
  expertGroupSize: { default: null, kind: integer(1), orNull },
  groupWiseA2a: { default: false, kind: boolean },
  compCommParallel: { default: false, kind: boolean },
  compCommParallelDegree: { default: 2, kind: count },
  routingPolicy: { default: 'TopkRouterV1', kind: choice(routingPolicies), native },
  useGatingSigmoid: { default: false, kind: boolean, only },
  topkMethod: { default: 'greedy', kind: choice(topkMethods), only, native },
  nGroup: { default: null, kind: count, orNull, only },
  topkGroup: { default: null, kind: count, orNull, only },
  excludeMaskedGroups: { default: false, kind: boolean, only, native, omitted },
  balanceViaTopkBias: { default: false, kind: boolean, only, native },
  normTopkProb: { default: true, kind: boolean, only, native },
  normTopkEpsilon: { default: 1e-9, kind: number({ atLeast: 0 }), only, native, omitted },
  routedScalingFactor: { default: 1, kind: number({ above: 0 }), only, native },
  enableSdrop: { default: false, kind: boolean, only, native },
  sharedExpertNum: { default: 0, kind: number({ atLeast: 0 }) },
  useSharedExpertGating: { default: false, kind: boolean },
  moeIntermediateSize: { default: 1407, kind: count, omitted },
  auxLossTypes: { default: null, kind: list(choice(auxLossTypes)), orNull, only },
  auxLossFactors: { default: null, kind: list(number({ atLeast: 0 })), orNull, only },
  zLossFactor: { default: 0, kind: number({ atLeast: 0 }), only, native },
  scoreFunction: { default: null, kind: choice(scoreFunctions), orNull, only, omitted },
  sparsemixerEpsilon: { default: 0.01, kind: number({ above: 0 }), only, native, omitted },
  logitSoftCap: { default: 0, kind: number({ atLeast: 0 }), only, native, omitted },
  chooseByLogit: { default: false, kind: boolean, only, native, omitted },
  normTopkSingle: { default: false, kind: boolean, only, native, omitted },
  zeroExpertNum: { default: 0, kind: integer(0, maxInt32), only, native, omitted },
  alwaysChosenExpertNum: { default: 0, kind: integer(0, maxInt32), only, native, omitted },
  weightOnInput: { default: false, kind: boolean, only, native, omitted },
  sharedExpertScale: { default: 1, kind: number({ above: 0 }), only, native, omitted },
  expertCapacity: { default: null, kind: integer(1), orNull, only, omitted },
};

export const fieldNames = Object.freeze(Object.keys(fieldRows)) as readonly FieldName[];

/** Rows of the router: what a token chooses among. */
export function routerRows({
  expertNum,
  zeroExpertNum,
}: Pick<MoEConfigFields, 'expertNum' | 'zeroExpertNum'>): number {
  return expertNum + zeroExpertNum;
}

/** Whether capacity may drop choices. */
export function limitsSlots({
  routingPolicy,
  capacityFactor,
  expertCapacity,
}: MoEConfigFields): boolean {
  return routingPolicy === 'TopkRouterV1' || capacityFactor > 0 || expertCapacity !== null;
}

/** What a field is when it is not given. */
export const defaults = Object.freeze(
  Object.fromEntries(fieldNames.map((name) => [name, fieldRows[name].default])),
) as unknown as MoEConfigFields;

/** Throws `ConfigError` unless the field may have this value, whatever the other fields are. */
export function expectField(name: FieldName, value: unknown): void {
  const { kind, orNull } = fieldRows[name];
  if (value !== null || orNull !== true) expectKind(name, value, kind);
}

/** MindFormers' name of a camelCase field; names in snake_case stay as they are. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The fields under MindFormers' names, as plain data. */
export function toSnakeCase(fields: MoEConfigFields): Record<string, unknown> {
  const written = fieldNames.filter(
    (name) => fieldRows[name].omitted !== true || fields[name] !== defaults[name],
  );
  return Object.fromEntries(
    written.map((name) => {
      const value = fields[name];
      return [snakeCase(name), Array.isArray(value) ? [...value] : value];
    }),
  );
}
