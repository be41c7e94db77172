import {
  describe,
  expectBoolean,
  expectInteger,
  expectKnownNames,
  expectNumber,
  expectObject,
  unexpected,
} from '../base/checks.js';
import { type Kind, other } from '../base/rows.js';

/** What fields may be that are no simple kind. Each throws `ConfigError`, which names the place in the field. */

const kindOf = (check: (name: string, value: unknown) => void): Kind => other(check);

export const textKind = kindOf(expectText);
export const objectKind = kindOf(expectObject);

function expectText(name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') throw unexpected(name, 'a string', value);
}

function expectList(name: string, value: unknown, what: string): asserts value is unknown[] {
  if (!Array.isArray(value) || value.length === 0)
    throw unexpected(name, `a list of ${what}`, value);
}

export const messagesKind = kindOf((name, messages) => {
  expectList(name, messages, 'messages');
  for (const [i, message] of messages.entries()) expectMessage(`${name}[${i}]`, message);
});

function expectMessage(at: string, message: unknown): void {
  expectObject(at, message);
  const { role, content, name, tool_calls: calls, tool_call_id: id } = message;
  expectText(`${at}.role`, role);
  if (typeof content !== 'string' && content !== null && content !== undefined)
    expectParts(`${at}.content`, content);
  if (name !== undefined && name !== null) expectText(`${at}.name`, name);
  if (id !== undefined && id !== null) expectText(`${at}.tool_call_id`, id);
  if (calls !== undefined && calls !== null) expectToolCalls(`${at}.tool_calls`, calls);
}

function expectParts(at: string, parts: unknown): void {
  if (!Array.isArray(parts)) throw unexpected(at, 'a string, a list of parts or null', parts);
  for (const [i, part] of parts.entries()) {
    expectObject(`${at}[${i}]`, part);
    // A model that cannot see must not answer as if it had been shown nothing.
    if (part['type'] !== 'text') throw unexpected(`${at}[${i}].type`, "'text'", part['type']);
    expectText(`${at}[${i}].text`, part['text']);
  }
}

function expectToolCalls(at: string, calls: unknown): void {
  if (!Array.isArray(calls)) throw unexpected(at, 'a list of tool calls', calls);
  for (const [i, call] of calls.entries()) {
    expectObject(`${at}[${i}]`, call);
    expectFunction(`${at}[${i}]`, call);
    const { arguments: text } = call['function'] as Record<string, unknown>;
    expectText(`${at}[${i}].function.arguments`, text);
  }
}

function expectFunction(at: string, { type, function: called }: Record<string, unknown>): void {
  if (type !== 'function') throw unexpected(`${at}.type`, "'function'", type);
  expectObject(`${at}.function`, called);
  expectText(`${at}.function.name`, called['name']);
}

export const toolsKind = kindOf((name, tools) => {
  if (!Array.isArray(tools)) throw unexpected(name, 'a list of tools', tools);
  for (const [i, tool] of tools.entries()) {
    expectObject(`${name}[${i}]`, tool);
    expectFunction(`${name}[${i}]`, tool);
  }
});

export const promptKind = kindOf((name, prompt) => {
  if (typeof prompt === 'string') return;
  expectList(name, prompt, 'texts, of token ids or of lists of token ids');
  if (typeof prompt[0] === 'number') expectTokens(name, prompt);
  else
    for (const [i, one] of prompt.entries())
      if (typeof prompt[0] === 'string') expectText(`${name}[${i}]`, one);
      else expectTokens(`${name}[${i}]`, one);
});

export const tokensKind = kindOf(expectTokens);

function expectTokens(name: string, tokens: unknown): void {
  expectList(name, tokens, 'token ids');
  for (const [i, token] of tokens.entries()) expectInteger(`${name}[${i}]`, token, 0, 2 ** 31 - 1);
}

export const stopKind = kindOf((name, stop) => {
  const all = Array.isArray(stop) ? stop : [stop];
  const wrong = all.find((one) => typeof one !== 'string' || one === '');
  if (all.includes(wrong)) throw unexpected(name, 'a string or strings that are not empty', wrong);
});

export const biasKind = kindOf((name, bias) => {
  expectObject(name, bias);
  for (const [token, value] of Object.entries(bias)) {
    if (!/^\d+$/.test(token)) throw unexpected(`a key of \`${name}\``, 'a token id', token);
    expectNumber(`${name}.${token}`, value, { atLeast: -100, atMost: 100 });
  }
});

export const streamOptionsKind = kindOf((name, options) => {
  expectObject(name, options);
  expectKnownNames(name, options, ['include_usage', 'include_obfuscation']);
  for (const [key, value] of Object.entries(options))
    if (value !== null) expectBoolean(`${name}.${key}`, value);
});

/** A list of one kind, with no element undone. */
export const idsKind = kindOf((name, ids) => {
  if (!Array.isArray(ids)) throw unexpected(name, 'a list of token ids', ids);
  for (const [i, id] of ids.entries()) expectInteger(`${name}[${i}]`, id, 0, 2 ** 31 - 1);
});

/** A value as a client sent it, for messages. */
export const shown = (value: unknown): string =>
  typeof value === 'object' && value !== null
    ? JSON.stringify(value).slice(0, 60)
    : describe(value);
