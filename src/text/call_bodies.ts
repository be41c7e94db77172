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
  return { name: call.name, arguments: typeof given === 'string' ? given : written(given) };
}

/** Qwen3-Coder's and GLM's forms, whose values are text and are typed by the function's schema. */
export function callsInTags(body: string, tools: readonly Tool[]): readonly Call[] | undefined {
  const coder = /^\s*<function=([^>]+)>(.*?)(?:<\/function>\s*)?$/s.exec(body);
  const glm = /^\s*([\w.-]+)\s*((?:<arg_key>.*)?)$/s.exec(body);
  const [, name, rest] = coder ?? glm ?? [];
  if (name === undefined || rest === undefined) return undefined;
  const values = coder
    ? rest.matchAll(/<parameter=([^>]+)>\n?(.*?)\n?(?:<\/parameter>|(?=<parameter=)|$)/gs)
    : rest.matchAll(/<arg_key>(.*?)<\/arg_key>\s*<arg_value>(.*?)<\/arg_value>/gs);
  const types = typesOf(name, tools);
  const pairs = Array.from(values, ([, key = '', value = '']) => [
    key,
    types[key] === 'string' ? value : jsonOr(value),
  ]);
  return [{ name, arguments: written(Object.fromEntries(pairs)) }];
}

/** The types that a function's schema gives its parameters. */
function typesOf(name: string, tools: readonly Tool[]): Record<string, unknown> {
  const schema = tools.find((tool) => tool.function.name === name)?.function.parameters;
  const { properties = {} } = (schema ?? {}) as {
    properties?: Record<string, { type?: unknown }>;
  };
  return Object.fromEntries(Object.entries(properties).map(([key, { type }]) => [key, type]));
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
