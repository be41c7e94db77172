import { ConfigError } from '../base/errors.js';
import type { LayerOption, RouterOption, Rule, Scalar } from '../families/row.js';
import type { HuggingFaceKeys } from './hugging_face_keys.js';

/** Options of a layer, of its config and others, by name. */
export type OptionValues = {
  [Option in RouterOption | LayerOption | GroupOption]?: Scalar;
};
type GroupOption = 'topkMethod' | 'nGroup' | 'topkGroup' | 'excludeMaskedGroups';

/** The key that says an option. */
export function keyOf(rules: readonly Rule[], option: string): string | undefined {
  for (const rule of rules) {
    if (!('set' in rule)) continue;
    const source = Object.entries(rule.set).find(([name]) => name === option)?.[1];
    if (typeof source === 'object' && source !== null) return source.key;
  }
  return undefined;
}

/** What a row's rules make of a config's keys. */
export function optionsBy(
  rules: readonly Rule[],
  keys: HuggingFaceKeys,
  layer: number | undefined,
): OptionValues {
  const options: OptionValues = {};
  for (const rule of rules) {
    const more = optionsOf(rule, keys, layer);
    Object.assign(options, more);
  }
  return options;
}

function optionsOf(rule: Rule, keys: HuggingFaceKeys, layer: number | undefined): OptionValues {
  if ('set' in rule) return setBy(rule, keys);
  if ('groups' in rule) return groupsBy(rule, keys);
  if ('by' in rule) {
    const found =
      rule.others === undefined
        ? keys.oneOf(rule.by, Object.keys(rule.are), rule.reason)
        : String(keys.value(rule.by));
    return optionsBy(rule.are[found] ?? rule.others ?? [], keys, layer);
  }
  if ('ignored' in rule) {
    keys.ignore(rule.ignored);
    return {};
  }
  const below = keys.count({ ...rule.layersBelow, whenNull: 0 });
  if (layer === undefined && below > 0)
    throw new ConfigError(
      `Expected \`layer\`: the first ${below} layers of this model differ from the others`,
    );
  return optionsBy((layer ?? 0) < below ? rule.are : rule.others, keys, layer);
}

function setBy({ set }: Extract<Rule, { set: unknown }>, keys: HuggingFaceKeys): OptionValues {
  const options: Record<string, Scalar> = {};
  for (const [name, source] of Object.entries(set)) {
    if (source === null || typeof source !== 'object') {
      options[name] = source;
      continue;
    }
    const value = keys.value(source, name);
    if (value !== source.neutral) options[name] = value;
  }
  return options;
}

/** Nothing where every group is kept. */
function groupsBy(
  { groups, excludeMasked, default: byDefault }: Extract<Rule, { groups: unknown }>,
  keys: HuggingFaceKeys,
): OptionValues {
  const count = (key: 'n_group' | 'topk_group', option: GroupOption, value: number | undefined) =>
    keys.count({ key, ...(value !== undefined && { default: value }) }, option);
  const nGroup = count('n_group', 'nGroup', byDefault?.[0]);
  const topkGroup = count('topk_group', 'topkGroup', byDefault?.[1]);
  if (nGroup === topkGroup) return {};
  return { topkMethod: groups, nGroup, topkGroup, excludeMaskedGroups: excludeMasked };
}
