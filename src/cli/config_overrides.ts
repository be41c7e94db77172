import { readFile } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import { parse } from 'yaml';
import { expectObject } from '../checks.js';
import { parseText } from '../config/parse_text.js';
import type { MoEConfigOptions } from '../config.js';

export type Setting = readonly [name: string, value: unknown];

/** Collects `name=value`; the value is read as YAML does, so `1.5`, `true` and `[0, 1]` are what they look like. */
export function setting(text: string, before: readonly Setting[] = []): Setting[] {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError(`Expected name=value, got \`${text}\`.`);
  return [...before, [text.slice(0, at).trim(), parse(text.slice(at + 1))]];
}

/**
 * MoEConfig options from a MindFormers YAML or JSON file and from `name=value` settings, the latter winning. Only what
 * is said there: everything else stays as the checkpoint has it. `load` checks names and values.
 */
export async function configOverrides(
  path: string | undefined,
  settings: readonly Setting[] = [],
): Promise<Partial<MoEConfigOptions>> {
  const given = [...(path === undefined ? [] : await readOptions(path)), ...settings];
  return Object.fromEntries(given.map(([name, value]) => [camelCase(name), value]));
}

async function readOptions(path: string): Promise<Setting[]> {
  const document = parseText(await readFile(path, 'utf8'));
  const options = document['moe_config'] ?? document;
  expectObject('moe_config', options);
  return Object.entries(options);
}

/** `capacity_factor` as `capacityFactor`. */
function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
