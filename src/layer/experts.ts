import { unexpected } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { choice, integer, type Kind, number, other, type Rows } from '../base/rows.js';
import type { NativeActivation } from '../binding/native.js';

/** Whether it has a gate, and the defaults of its numbers, where it has any. */
interface ActivationFacts {
  readonly gated: boolean;
  readonly numbers?: { readonly alpha: number; readonly limit: number | null };
}

const facts = {
  swiglu: { gated: true, numbers: { alpha: 1, limit: null } },
  swiglu_oai: { gated: true, numbers: { alpha: 1.702, limit: 7 } },
  geglu: { gated: true },
  geglu_tanh: { gated: true },
  gelu: { gated: false },
  gelu_tanh: { gated: false },
  relu: { gated: false },
  relu2: { gated: false },
  silu: { gated: false },
} as const satisfies Record<NativeActivation['kind'], ActivationFacts>;

/**
 * What an expert computes between its projections: `down(act(gate x) * up x)` for `swiglu`, `swiglu_oai`, `geglu` and
 * `geglu_tanh`, `down(act(up x))` for the others, which have no gate. `swiglu` is `silu(gate) * up`, `swiglu_oai` gpt-oss'
 * `silu(gate) * (up + 1)`, clamped and steeper; `geglu_tanh` approximates gelu by tanh; `relu2` is the square of relu.
 */
export type Activation = keyof typeof facts;

export const activations = Object.keys(facts) as readonly Activation[];

export const isGated = (activation: Activation): boolean => facts[activation].gated;

export const activationClamps = ['before', 'after'] as const;
/** Where a limit clamps: the gate, or the gate times its sigmoid. */
export type ActivationClamp = (typeof activationClamps)[number];

/** What a layer's experts compute, and the width of the rows that they take. */
export interface ExpertOptions {
  /** Defaults to `'swiglu'`. */
  activation?: Activation | undefined;
  /**
   * Of `swiglu` and `swiglu_oai`: the sigmoid is that of `alpha * gate`. From 0.001 to 1000. Defaults to 1 and to 1.702, as
   * gpt-oss has it.
   */
  activationAlpha?: number | undefined;
  /**
   * Of `swiglu` and `swiglu_oai`: `gate` is clamped to at most this and `up` to this on both sides; null: neither. Defaults
   * to null and to 7, as gpt-oss has it.
   */
  activationLimit?: number | null | undefined;
  /**
   * Of a limit: whether the gate is clamped before its sigmoid, or the product of both after it: `min(silu(gate), limit)`.
   * Defaults to `'before'`.
   */
  activationClamp?: ActivationClamp | undefined;
  /** What the always-on expert computes. Defaults to what the routed ones do. */
  sharedActivation?: Activation | undefined;
  /** The limit of the always-on expert. Defaults to that of the routed ones where both compute the same. */
  sharedActivationLimit?: number | null | undefined;
  /**
   * L: the routed experts take and give rows of this width, between the weights `latentDown` and `latentUp`. The router and
   * the always-on expert see whole tokens. Defaults to none: the experts' rows are H wide.
   */
  latentSize?: number | undefined;
}

const limit: Kind = other((name, value) => {
  if (value !== null && !(Number.isFinite(value) && (value as number) > 0))
    throw unexpected(name, 'a finite number above 0 or null', value);
});

export const maxSize = 2 ** 30;

export const expertRows: Rows<ExpertOptions> = {
  activation: { kind: choice(activations) },
  activationAlpha: { kind: number({ atLeast: 0.001, atMost: 1000 }) },
  activationLimit: { kind: limit },
  activationClamp: { kind: choice(activationClamps) },
  sharedActivation: { kind: choice(activations) },
  sharedActivationLimit: { kind: limit },
  latentSize: { kind: integer(1, maxSize) },
};

/**
 * What routed and always-on experts compute, defaults applied.
 *
 * @throws `ConfigError` for options without effect
 */
export function nativeActivations(
  options: ExpertOptions,
  hasShared: boolean,
): Record<'activation' | 'sharedActivation', NativeActivation> {
  const { activation = 'swiglu', activationAlpha, activationLimit } = options;
  const { sharedActivation = activation, sharedActivationLimit } = options;
  const [own, ofShared]: ActivationFacts[] = [facts[activation], facts[sharedActivation]];
  const refuse = (name: keyof ExpertOptions, because: string) => {
    if (options[name] !== undefined) throw new ConfigError(`Expected no \`${name}\`: ${because}`);
  };
  if (!hasShared) {
    refuse('sharedActivation', noShared);
    refuse('sharedActivationLimit', noShared);
  }
  if (own?.numbers === undefined) {
    refuse('activationAlpha', withoutNumbers(activation));
    refuse('activationLimit', withoutNumbers(activation));
  }
  if (ofShared?.numbers === undefined)
    refuse('sharedActivationLimit', withoutNumbers(sharedActivation));

  const clamp = options.activationClamp ?? 'before';
  const routed = {
    kind: activation,
    alpha: activationAlpha ?? own?.numbers?.alpha ?? 1,
    limit: limitOf(activationLimit, own?.numbers?.limit),
    clamp,
  };
  const defaults =
    sharedActivation === activation ? routed : { alpha: 1, limit: null, ...ofShared?.numbers };
  const shared = {
    kind: sharedActivation,
    alpha: defaults.alpha,
    limit: limitOf(sharedActivationLimit, defaults.limit),
    clamp,
  };
  const limits = hasShared ? [routed.limit, shared.limit] : [routed.limit];
  if (!limits.some(Number.isFinite)) refuse('activationClamp', 'there is no limit');
  return { activation: routed, sharedActivation: shared };
}

const noShared = 'there is no always-on expert';
const withoutNumbers = (activation: Activation): string =>
  `the activation '${activation}' has no such number`;

/** Null is no limit, which is infinite on the native side; undefined is the default. */
const limitOf = (given: number | null | undefined, otherwise: number | null | undefined): number =>
  (given === undefined ? otherwise : given) ?? Infinity;
