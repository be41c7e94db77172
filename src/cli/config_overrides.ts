import { InvalidArgumentError } from 'commander';
import { parse } from 'yaml';
import { expectField, type FieldName } from '../config/fields.js';
import { type ParsedFields, parseFields } from '../config/parse.js';
import type { MoEConfig } from '../config.js';
import { ConfigError } from '../errors.js';
import { namedFile } from './files.js';

/** Collects `name=value` in one object; the value is read as YAML does: `1.5`, `true` and `[0, 1]` are what they look like. */
export function setting(
  text: string,
  before: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError(`Expected name=value, got \`${text}\`.`);
  try {
    const one = { [text.slice(0, at).trim()]: parse(text.slice(at + 1)) as unknown };
    // A misspelt name and a value that no layer takes are wrong usage.
    for (const [name, value] of Object.entries(parseFields(one).options))
      expectField(name as FieldName, value);
    return { ...before, ...one };
  } catch (error) {
    throw new InvalidArgumentError(`\`${text}\`: ${(error as Error).message}`);
  }
}

/**
 * MoEConfig options from a MindFormers YAML or JSON file and from settings, the latter winning. Only what is said there:
 * everything else stays as the checkpoint has it. Values are checked together with the checkpoint's.
 */
export async function configOverrides(
  path: string | undefined,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<ParsedFields> {
  const file = parseFields(path === undefined ? {} : await namedFile('--config', path));
  const single = parseFields(settings);
  return {
    options: { ...file.options, ...single.options },
    others: new Map([...file.others, ...single.others]),
  };
}

/** What the command line says cannot be done: ends with another exit code than a failure. */
export class UsageError extends Error {}

/**
 * Makes a config of what was said.
 *
 * @throws `UsageError` where `--set` had a part in a config that describes no layer
 */
export function configured(settings: object | undefined, make: () => MoEConfig): MoEConfig {
  try {
    return make();
  } catch (error) {
    if (settings === undefined || !(error instanceof ConfigError)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}
