import { expectInteger, expectObject } from '../base/checks.js';
import type { LayerKey, Sparse } from '../families/row.js';
import { maxInt32 } from './fields.js';

/** Which layers a model has, and which of them have an MoE block. */
export interface ModelLayers {
  /** Absent where the config does not say it. */
  readonly count: number | undefined;
  /** The keys that say it. */
  readonly keys: readonly string[];
  isSparse(layer: number): boolean;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * @param layers the key of their number
 * @throws `ConfigError` for a key that is no number
 */
export function layersOf(
  config: unknown,
  layers: LayerKey,
  sparse: readonly Sparse[],
): ModelLayers {
  expectObject('config', config);
  const count = numberAt(config, layers);
  const rule = sparse.find((candidate) => counts(config, candidate)) ?? {};
  const numbers = rule.numbers === undefined ? undefined : numbersAt(config, rule.numbers);
  const dense =
    rule.exceptNumbers === undefined ? undefined : numbersAt(config, rule.exceptNumbers);
  const from = typeof rule.from === 'object' ? numberAt(config, rule.from) : rule.from;
  const until = rule.until && numberAt(config, rule.until);
  const isKind = rule.kinds && kindsAt(config, rule.kinds);
  const isTurn = rule.every && turnsAt(config, rule.every, rule.remainder);
  return {
    count,
    keys: keysOf(rule),
    isSparse: (layer) =>
      (numbers?.includes(layer) ?? true) &&
      dense?.includes(layer) !== true &&
      layer >= (from ?? 0) &&
      (until === undefined || until < 0 || layer <= until) &&
      (isKind?.(layer) ?? true) &&
      (isTurn?.(layer) ?? true),
  };
}

/** Whether the keys are there that a rule is about. */
function counts(config: Json, { kinds, numbers }: Sparse): boolean {
  if (kinds !== undefined)
    return Array.isArray(config[kinds.key]) || typeof config[kinds.key] === 'string';
  return numbers === undefined || numbersAt(config, numbers) !== undefined;
}

const keysOf = ({ kinds, numbers, exceptNumbers, from, until, every, remainder }: Sparse) =>
  [kinds?.key, numbers, exceptNumbers, ...[from, until, every, remainder].map(keyOf)].filter(
    (key) => key !== undefined,
  );
const keyOf = (number: LayerKey | number | 'last' | undefined) =>
  typeof number === 'object' ? number.key : undefined;

function numberAt(
  config: Json,
  { key, default: byDefault, element }: LayerKey,
): number | undefined {
  const said = config[key];
  const isList = element !== undefined && Array.isArray(said);
  const value = (isList ? said[element] : said) ?? byDefault;
  if (value === undefined) return undefined;
  expectInteger(isList ? `${key}[${element}]` : key, value, -1, maxInt32);
  return value;
}

/** A list, or a text with commas. */
function numbersAt(config: Json, key: string): readonly unknown[] | undefined {
  const value = config[key];
  if (typeof value === 'string') return value.split(',').map(Number);
  return Array.isArray(value) ? value : undefined;
}

function kindsAt(config: Json, { key, are }: NonNullable<Sparse['kinds']>) {
  const kinds = config[key] as readonly unknown[] | string;
  return (layer: number) => are.includes(kinds[layer] as string);
}

/** The key may have a list with 1 for each sparse layer, too. */
function turnsAt(config: Json, every: LayerKey, remainder: Sparse['remainder']) {
  const list = config[every.key];
  if (Array.isArray(list)) return (layer: number) => list[layer] === 1;
  const step = numberAt(config, every);
  if (step === undefined || step < 1) return undefined;
  const rest = typeof remainder === 'object' ? numberAt(config, remainder) : remainder;
  const wanted = rest === 'last' ? step - 1 : (rest ?? 0) % step;
  return (layer: number) => layer % step === wanted;
}
