import type { BlockKey, SizeKey } from './keys.js';
import type { Layout } from './layout.js';

/** Router options: fields of `MoEConfig`. */
export type RouterOption =
  | 'useGatingSigmoid'
  | 'scoreFunction'
  | 'sparsemixerEpsilon'
  | 'logitSoftCap'
  | 'chooseByLogit'
  | 'balanceViaTopkBias'
  | 'normTopkProb'
  | 'normTopkEpsilon'
  | 'routedScalingFactor'
  | 'useSharedExpertGating'
  | 'zeroExpertNum'
  | 'alwaysChosenExpertNum'
  | 'weightOnInput'
  | 'sharedExpertScale'
  | 'expertCapacity';

/** Options of a layer beside its config, and (`expertTable`) weights that a layer must have. */
export const layerOptions = [
  ...(['activation', 'activationAlpha', 'activationLimit', 'activationClamp'] as const),
  ...(['sharedActivation', 'sharedActivationLimit', 'latentSize', 'expertTable'] as const),
];
export type LayerOption = (typeof layerOptions)[number];

export type Scalar = string | number | boolean | null;

/**
 * A key of `config.json`, under any of its names. Absent, it takes its default, which is that of the model's class in
 * Transformers; one without a default is needed. The default's type is the value's.
 */
export interface Key<Name extends string = BlockKey> {
  readonly key: Name;
  readonly default?: Scalar;
  /** What null says; absent: the default. */
  readonly whenNull?: Scalar;
  /** What 0 says; absent: 0. */
  readonly whenZero?: Scalar;
  /** What each of its values says. Others are errors. */
  readonly are?: Readonly<Record<string, Scalar>>;
  /** Which element counts where it is a list: the layer's, or the one of this index. */
  readonly element?: 'layer' | number;
  /** Which member counts where it is an object. */
  readonly member?: string;
  /** The value at which the option is not set: it says what layers do anyway. */
  readonly neutral?: Scalar;
  /** The value is 1 minus the key's. */
  readonly oneMinus?: true;
}

/** A size or a number of things. */
export type Size =
  | number
  | Key<SizeKey | BlockKey>
  /** The first that the config has, or the last's default. */
  | { readonly firstOf: readonly [...Key<SizeKey | BlockKey>[], Key<SizeKey | BlockKey>] }
  | { readonly times: readonly Size[] }
  | { readonly sum: readonly Size[] };

/** What a model's config says of the options of a layer. Later rules win. */
export type Rule =
  /** Options that are constant, or what a key says. */
  | { readonly set: { readonly [Option in RouterOption | LayerOption]?: Scalar | Key } }
  /** Rules by a key's value. Other values have the rules of `others`, or are errors, for this reason. */
  | {
      readonly by: Key;
      readonly are: Readonly<Record<string, readonly Rule[]>>;
      readonly others?: readonly Rule[];
      readonly reason?: string;
    }
  /** Groups of experts, where not all of `n_group` are kept. */
  | {
      readonly groups: 'group_limited_greedy' | 'noaux_tc';
      readonly excludeMasked: boolean;
      readonly default?: readonly [groups: number, kept: number];
    }
  /** A key that has no effect with what the other rules ask for. */
  | { readonly ignored: BlockKey }
  /** Rules of the first layers, and of the others. */
  | { readonly layersBelow: Key; readonly are: readonly Rule[]; readonly others: readonly Rule[] };

/** A number of layers, or a layer's number. Absent and without a default, it says nothing. */
export interface LayerKey {
  readonly key: string;
  readonly default?: number;
  /** Which element counts where it is a list with one for each stack. */
  readonly element?: number;
}

/** Which layers have an MoE block. What is left out says all. */
export interface Sparse {
  /** A list with a word (or 0 and 1) for each layer, or a text with a letter for each. The rule counts where it is there. */
  readonly kinds?: { readonly key: string; readonly are: readonly Scalar[] };
  /** A list, or a text with commas, of layers' numbers. The rule counts where it is there. */
  readonly numbers?: string;
  readonly exceptNumbers?: string;
  readonly from?: number | LayerKey;
  /** Included; -1: the last. */
  readonly until?: LayerKey;
  readonly every?: LayerKey;
  /** The remainder of the layer's number by `every`; `'last'`: the last of each so many. Absent: 0. */
  readonly remainder?: 'last' | number | LayerKey;
}

/** What a family's `config.json` says. */
export interface ConfigPart {
  /** Where the stack's config is nested; absent: in `text_config`, where there is one. */
  readonly at?: readonly string[];
  /** An object in it whose members count as its own. */
  readonly merged?: BlockKey;
  /** Absent: `hidden_size`. */
  readonly hiddenSize?: Size;
  /** How many layers there are. Absent: `num_hidden_layers`. */
  readonly layers?: LayerKey;
  /** E. */
  readonly experts: Size;
  /** K. */
  readonly chosen: Size;
  /** I. */
  readonly width: Size;
  /** Width of the shared expert, 0 without one. */
  readonly shared: Size;
  readonly rules: readonly Rule[];
  /** The first that counts. */
  readonly sparse: readonly Sparse[];
}

/** A family of models whose MoE layers are told apart by nothing but sizes. */
export interface FamilyRow {
  /** `model_type`s: the outer one, and that of the text part. */
  readonly modelTypes: readonly string[];
  /** One of several stacks in a checkpoint: what `stack` calls it, and what its tensors' names begin with. */
  readonly stack?: { readonly name: string; readonly roots: readonly string[] };
  /** Published models, in words. */
  readonly models: string;
  /** What tells that the row is right. */
  readonly evidence: 'a real file was seen' | 'sources only';
  readonly config: ConfigPart;
  /** How the layers are stored; the first that fits. */
  readonly layouts: readonly Layout[];
  /** What the caller applies around the block, in words. */
  readonly around?: string;
}

/** A family that no layer can be made of, with the reason. */
export interface RefusedRow {
  readonly modelTypes: readonly string[];
  readonly models: string;
  readonly refused: string;
}
