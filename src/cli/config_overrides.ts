import { InvalidArgumentError } from 'commander';
import { parse } from 'yaml';
import { type ParsedFields, parseFields } from '../config/parse.js';
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
    parseFields(one); // a misspelt name is wrong usage
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
