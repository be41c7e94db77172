import { describe, expectKnownNames, expectObject } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { type FieldName, fieldNames, snakeCase } from './fields.js';
import { otherFieldNames } from './other_fields.js';
import { parseText } from './parse_text.js';

/** What MindFormers text says: values of our fields, and of the fields of MindFormers' that have no place here. */
export interface ParsedFields {
  readonly options: Readonly<Record<string, unknown>>;
  /** By MindFormers' name. */
  readonly others: ReadonlyMap<string, unknown>;
}

const fieldOf: ReadonlyMap<string, FieldName> = new Map(
  fieldNames.map((name) => [snakeCase(name), name]),
);

/** Where a MindFormers file has its MoEConfig; a text may also be one. */
const places = [
  ['moe_config'],
  ['model_config', 'moe_config'],
  ['model', 'moe_config'],
  ['model', 'model_config', 'moe_config'],
] as const;

/** Reads MindFormers YAML or JSON text, or an object like one. Values are not checked yet. */
export function parseFields(source: string | object): ParsedFields {
  const root: unknown = typeof source === 'string' ? parseText(source) : source;
  expectObject('source', root);
  const given = findMoEConfig(root);

  const names = new Map<string, string>();
  for (const key of Object.keys(given)) {
    const name = snakeCase(key);
    const earlier = names.get(name);
    if (earlier !== undefined)
      throw new ConfigError(
        `Expected each option once, got ${describe(earlier)} and ${describe(key)}`,
      );
    names.set(name, key);
  }
  expectKnownNames('MoEConfig', Object.fromEntries(names), [...fieldOf.keys(), ...otherFieldNames]);

  const options: Record<string, unknown> = {};
  const others = new Map<string, unknown>();
  for (const [name, key] of names) {
    const field = fieldOf.get(name);
    if (field === undefined) others.set(name, given[key]);
    else options[field] = given[key];
  }
  return { options, others };
}

function findMoEConfig(root: Record<string, unknown>): Record<string, unknown> {
  const found = places.filter((path) => at(root, path) !== undefined);
  const [path] = found;
  if (path === undefined) return root;
  if (found.length > 1)
    throw new ConfigError(
      `Expected one \`moe_config\`, got ${found.map((place) => place.join('.')).join(' and ')}`,
    );
  const outside = Object.keys(root).find((key) => fieldOf.has(snakeCase(key)));
  if (outside !== undefined)
    throw new ConfigError(
      `Expected every option inside \`${path.join('.')}\`, got ${describe(outside)} outside of it`,
    );
  const value = at(root, path);
  expectObject(path.join('.'), value);
  return value;
}

function at(root: unknown, path: readonly string[]): unknown {
  let value = root;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}
