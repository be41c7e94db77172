// How positions turn queries and keys, in float64. A rotation keeps a token's numbers however long its sequence becomes.
import {
  describe,
  expectBoolean,
  expectInteger,
  expectNumber,
  expectOneOf,
  unexpected,
} from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import type { NativeRotation } from '../binding/model.js';
import { maxInt32 } from '../config/fields.js';

type Json = Readonly<Record<string, unknown>>;

/** What of a model's config is not in the description of its rotations. */
export interface RopeFacts {
  readonly theta: number;
  /** `max_position_embeddings`. */
  readonly positions: number;
  /** `original_max_position_embeddings` of the config itself, which comes before the one inside. */
  readonly original?: number | undefined;
  /** Tokens that a sequence may have; undefined: what the model is made for. */
  readonly context?: number | undefined;
  /** Numbers of a head that are rotated. */
  readonly size: number;
  readonly interleaved: boolean;
}

/** How positions are turned, for people. */
export interface RopeKind {
  /** As configs name it. */
  readonly type: string;
  readonly theta: number;
}

export interface Rope {
  readonly kind: RopeKind;
  readonly rotation: NativeRotation;
  /** Tokens that a sequence may have. */
  readonly context: number;
  /** A factor of the scale of products, in latent attention. */
  readonly scaleFactor: number;
}

/** Keys that every type has. */
const common = ['rope_type', 'type', 'rope_theta', 'partial_rotary_factor'];
const yarnKeys = [
  ...['factor', 'attention_factor', 'beta_fast', 'beta_slow', 'mscale', 'mscale_all_dim'],
  ...['original_max_position_embeddings', 'truncate'],
];

/** Every type: the keys that it has besides, and what it makes of plain frequencies. */
const types: Readonly<
  Record<string, { keys: readonly string[]; make: (scaling: Scaling) => Made }>
> = {
  default: { keys: [], make: ({ frequencies }) => ({ frequencies }) },
  linear: { keys: ['factor'], make: linear },
  yarn: { keys: yarnKeys, make: yarn },
  llama3: {
    keys: [
      ...['factor', 'low_freq_factor', 'high_freq_factor'],
      'original_max_position_embeddings',
    ],
    make: llama3,
  },
  longrope: {
    keys: [
      ...['factor', 'attention_factor', 'short_factor', 'long_factor'],
      'original_max_position_embeddings',
    ],
    make: longrope,
  },
};

interface Made {
  frequencies: readonly number[];
  /** Of cosine and sine. */
  factor?: number;
  scaleFactor?: number;
  /** Tokens that a sequence may have by this; absent: `max_position_embeddings`. */
  context?: number;
}

/**
 * The rotation that a description means.
 *
 * @param described `rope_parameters`, or `rope_scaling` of older files
 * @throws `ConfigError` naming the key
 */
export function ropeOf(described: Json, facts: RopeFacts): Rope {
  const type = typeOf(described);
  const row = types[type] as (typeof types)[string];
  for (const [key, value] of Object.entries(described))
    if (value !== null && ![...common, ...row.keys].includes(key))
      throw unexpected(`rope_parameters.${key}`, `left out: rope of type ${type} has none`, value);
  const { size, theta, positions, interleaved } = facts;
  const plain = Array.from({ length: size / 2 }, (_, pair) => theta ** ((-2 * pair) / size));
  const made = row.make(new Scaling(described, facts, plain));
  const frequencies = Float64Array.from(made.frequencies);
  const longest = made.context ?? positions;
  if (facts.context !== undefined && facts.context > longest)
    throw unexpected('contextLength', `at most the model's ${longest}`, facts.context);
  return {
    kind: { type, theta },
    rotation: { frequencies, factor: made.factor ?? 1, interleaved },
    context: facts.context ?? longest,
    scaleFactor: made.scaleFactor ?? 1,
  };
}

function typeOf({ rope_type: name, type: older }: Json): string {
  if (name && older && name !== older)
    throw new ConfigError(
      `Expected \`rope_type\` and \`type\` to be the same, as they are two names of one key, got ${describe(name)} and ` +
        describe(older),
    );
  const type = name ?? older ?? 'default';
  if (type === 'dynamic')
    throw unexpected(
      'rope_type',
      `one of ${Object.keys(types).join(', ')}: 'dynamic' turns a token otherwise once its sequence is longer, so what ` +
        'stands in the cache would no longer be right',
      type,
    );
  expectOneOf('rope_type', type, Object.keys(types));
  return type;
}

/** The numbers of a description, each checked under its own name. */
class Scaling {
  readonly #described: Json;
  readonly facts: RopeFacts;
  /** Of pairs, unscaled. */
  readonly frequencies: readonly number[];

  constructor(described: Json, facts: RopeFacts, frequencies: readonly number[]) {
    this.#described = described;
    this.facts = facts;
    this.frequencies = frequencies;
  }

  /** A number above 0; undefined where there is none. */
  number(key: string): number | undefined {
    const value = this.#described[key] ?? undefined;
    if (value === undefined) return undefined;
    expectNumber(`rope_parameters.${key}`, value, { above: 0 });
    return value;
  }

  needed(key: string): number {
    const value = this.number(key);
    if (value === undefined)
      throw new ConfigError(
        `Expected the key \`rope_parameters.${key}\` in the model's config, got none`,
      );
    return value;
  }

  /** A number that 0 is as good as none for. */
  notZero(key: string): number | undefined {
    return this.#described[key] === 0 ? undefined : this.number(key);
  }

  boolean(key: string, byDefault: boolean): boolean {
    const value = this.#described[key] ?? byDefault;
    expectBoolean(`rope_parameters.${key}`, value);
    return value;
  }

  /** One factor for each pair. */
  factors(key: string): readonly number[] {
    const list = this.#described[key];
    const { length } = this.frequencies;
    if (!Array.isArray(list) || list.length !== length)
      throw unexpected(`rope_parameters.${key}`, `a list of ${length} numbers`, list);
    for (const [pair, value] of list.entries())
      expectNumber(`rope_parameters.${key}[${pair}]`, value, { above: 0 });
    return list as number[];
  }

  /** Positions that the model was first trained on. */
  get original(): number {
    const value =
      this.facts.original ??
      this.number('original_max_position_embeddings') ??
      this.facts.positions;
    expectInteger('rope_parameters.original_max_position_embeddings', value, 1, maxInt32);
    return value;
  }

  /** How much longer sequences are than that. */
  get factor(): number {
    return this.number('factor') ?? this.facts.positions / this.original;
  }
}

function linear(scaling: Scaling): Made {
  const factor = scaling.needed('factor');
  const { frequencies, facts } = scaling;
  return {
    frequencies: frequencies.map((frequency) => frequency / factor),
    context: Math.max(facts.positions, Math.floor(facts.positions * factor)),
  };
}

/** By so much attention grows with the length of sequences. */
const grown = (factor: number, by: number) => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);

/** Slow pairs are slowed down by the factor, fast ones are left, and between them is a ramp. */
function yarn(scaling: Scaling): Made {
  const { frequencies, facts, original, factor } = scaling;
  const { size, theta, positions } = facts;
  const turnsAt = (turns: number) =>
    (size * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [first, last] = [
    turnsAt(scaling.notZero('beta_fast') ?? 32),
    turnsAt(scaling.notZero('beta_slow') ?? 1),
  ];
  const truncate = scaling.boolean('truncate', true);
  const low = Math.max(truncate ? Math.floor(first) : first, 0);
  const end = Math.min(truncate ? Math.ceil(last) : last, size - 1);
  const high = end === low ? end + 0.001 : end;
  const [mscale, mscaleAll] = [scaling.notZero('mscale'), scaling.notZero('mscale_all_dim')];
  const inferred =
    mscale && mscaleAll ? grown(factor, mscale) / grown(factor, mscaleAll) : undefined;
  return {
    frequencies: frequencies.map((frequency, pair) => {
      const slowed = Math.min(Math.max((pair - low) / (high - low), 0), 1);
      return (slowed * frequency) / factor + (1 - slowed) * frequency;
    }),
    factor: scaling.number('attention_factor') ?? inferred ?? grown(factor, 1),
    scaleFactor: mscaleAll === undefined ? 1 : grown(factor, mscaleAll) ** 2,
    context: Math.max(positions, Math.floor(original * factor)),
  };
}

/** By wavelengths: long ones are slowed down by the factor, short ones are left, between them is a mixture. */
function llama3(scaling: Scaling): Made {
  const { frequencies, original } = scaling;
  const factor = scaling.needed('factor');
  const low = scaling.needed('low_freq_factor');
  const high = scaling.needed('high_freq_factor');
  if (high <= low)
    throw unexpected('rope_parameters.high_freq_factor', `above low_freq_factor ${low}`, high);
  return {
    frequencies: frequencies.map((frequency) => {
      const waves = (original * frequency) / (2 * Math.PI);
      const kept = Math.min(Math.max((waves - low) / (high - low), 0), 1);
      return ((1 - kept) * frequency) / factor + kept * frequency;
    }),
  };
}

/** A factor for each pair: some for sequences up to the first length, others for longer ones. */
function longrope(scaling: Scaling): Made {
  const { frequencies, facts, original, factor } = scaling;
  const [short, long] = [scaling.factors('short_factor'), scaling.factors('long_factor')];
  const { positions, context = positions } = facts;
  const alike = short.every((value, pair) => value === long[pair]);
  if (context > original && !alike)
    throw unexpected(
      'contextLength',
      `at most ${original}, up to which this model's \`short_factor\` holds: longer sequences turn all tokens by ` +
        '`long_factor`, and what stands in the cache would no longer be right',
      context,
    );
  const inferred = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  return {
    frequencies: frequencies.map((frequency, pair) => frequency / (short[pair] as number)),
    factor: scaling.number('attention_factor') ?? inferred,
  };
}
