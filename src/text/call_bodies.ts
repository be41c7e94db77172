// What stands between the marks of calls.
import type { Tool } from './types.js';

/** A call; its arguments are JSON text. */
export interface Call {
  id?: string | undefined;
  name: string;
  arguments: string;
}

/** `{"name": …, "arguments": …}` or a list of them. Arguments may be an object or its text. */
export function callsInJson(body: string): readonly Call[] | undefined {
  const read = jsonOr(body);
  const calls = (Array.isArray(read) ? read : [read]).map(callOf);
  return calls.length === 0 || calls.some((call) => call === undefined)
    ? undefined
    : (calls as Call[]);
}

function callOf(read: unknown): Call | undefined {
  if (typeof read !== 'object' || read === null) return undefined;
  const call = read as { name?: unknown; arguments?: unknown; parameters?: unknown };
  if (typeof call.name !== 'string') return undefined;
  const given = call.arguments ?? call.parameters ?? {};
  const text = typeof given === 'string' ? given.trim() || '{}' : written(given);
  return isJsonObject(text) ? { name: call.name, arguments: text } : undefined;
}

/**
 * Qwen3-Coder's and GLM's forms, whose values are text and are typed by the function's schema. Unlike JSON, half of one may look like a
 * whole one with fewer arguments: only its end tells.
 *
 * @param ended whether the mark of the end was there
 */
export function callsInTags(
  body: string,
  tools: readonly Tool[],
  ended: boolean,
): readonly Call[] | undefined {
  const coder = /^\s*<function=([^>]+)>(.*?)(<\/function>\s*)?$/s.exec(body);
  const glm = /^\s*([\w.-]+)\s*((?:<arg_key>.*)?)$/s.exec(body);
  const [, name, rest, end] = coder ?? glm ?? [];
  if (name === undefined || rest === undefined || !(ended || end !== undefined)) return undefined;
  const value = coder
    ? /<parameter=([^>]+)>\n?(.*?)\n?(?:<\/parameter>|(?=<parameter=)|$)/gs
    : /<arg_key>(.*?)<\/arg_key>\s*<arg_value>(.*?)<\/arg_value>/gs;
  if (rest.replace(value, '').trim() !== '') return undefined;
  const schemas = schemasOf(name, tools);
  const pairs = Array.from(rest.matchAll(value), ([, key = '', text = '']) => [
    key,
    typed(text, typesOf(schemas[key])),
  ]);
  return [{ name, arguments: written(Object.fromEntries(pairs)) }];
}

/** The schemas of a function's parameters. */
function schemasOf(name: string, tools: readonly Tool[]): Readonly<Record<string, unknown>> {
  const schema = tools.find((tool) => tool.function.name === name)?.function.parameters;
  return (schema as { properties?: Record<string, unknown> } | null | undefined)?.properties ?? {};
}

/** The types that a schema allows. */
function typesOf(schema: unknown): readonly unknown[] {
  const { type, anyOf, oneOf, enum: values } = (schema ?? {}) as Record<string, unknown>;
  return [
    ...listOf(type ?? []),
    ...listOf(values ?? []).map((value) => (value === null ? 'null' : typeof value)),
    ...[...listOf(anyOf ?? []), ...listOf(oneOf ?? [])].flatMap(typesOf),
  ];
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);

/** A value that is written as text: text stays what it is where it may be text. */
function typed(text: string, types: readonly unknown[]): unknown {
  if (!types.includes('string')) return jsonOr(text);
  return text === 'null' && types.includes('null') ? null : text;
}

export function isJsonObject(text: string): boolean {
  const read = jsonOr(text);
  return typeof read === 'object' && read !== null && !Array.isArray(read);
}

/** Stands before a number that JavaScript has no value for; a private-use character, which no number has. */
const exactly = '\uE000';

/** What a text says in JSON, else the text. Long numbers stay as they are written. */
function jsonOr(text: string): unknown {
  const kept = text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/gs, (part) =>
    part.startsWith('"') || Number.isNaN(Number(part)) || String(Number(part)) === part
      ? part
      : `"${exactly}${part}"`,
  );
  try {
    return JSON.parse(kept);
  } catch {
    return text;
  }
}

const written = (value: unknown): string =>
  JSON.stringify(value).replace(new RegExp(`"${exactly}(-?\\d[\\d.eE+-]*)"`, 'g'), '$1');
