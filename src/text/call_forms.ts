// The forms in which models write calls of functions.
import { type Call, callsInJson, callsInTags, isJsonObject } from './call_bodies.js';
import type { Tool, ToolCallPiece } from './types.js';

/** What of a piece of text is for the reader, and what for functions. */
export interface CalledText {
  text: string;
  toolCalls: readonly ToolCallPiece[];
}

export interface CallForm {
  /** Whose it is. */
  readonly name: string;
  /** What calls begin with. A chat template that holds it makes its model write them so. */
  readonly begin: string;
  /** What they end with; undefined: with the answer. */
  readonly end?: string;
  /** What else within them may be tokens that are no text. */
  readonly within: readonly string[];
  /** Calls between begin and end; undefined where it is none. `ended`: whether the end was there, or the answer ended before. */
  callsOf(body: string, tools: readonly Tool[], ended: boolean): readonly Call[] | undefined;
  /** The id of a call that its model does not name. */
  idOf(hash: string): string;
}

/** Hexadecimal digits that are the call's alone, by its number in the answer. */
export type CallHash = (call: number) => string;

export const idOf = (hash: string): string => `call_${hash.slice(0, 32)}`;

/** Hermes and Qwen (JSON), Qwen3-Coder, GLM (tags): a call for each begin and end. */
const hermes: CallForm = {
  name: 'Hermes, Qwen or GLM',
  ...{ begin: '<tool_call>', end: '</tool_call>', idOf },
  within: ['<arg_key>', '</arg_key>', '<arg_value>', '</arg_value>'],
  callsOf: (body, tools, ended) => callsInJson(body) ?? callsInTags(body, tools, ended),
};

/** DeepSeek: V3 and R1 fence the arguments and say that it is a function, V3.1 does not. */
const deepSeek: CallForm = {
  name: 'DeepSeek',
  ...{ begin: '<｜tool▁calls▁begin｜>', end: '<｜tool▁calls▁end｜>', idOf },
  within: ['<｜tool▁call▁begin｜>', '<｜tool▁call▁end｜>', '<｜tool▁sep｜>'],
  callsOf: (body) =>
    entriesOf(body, '<｜tool▁call▁begin｜>', '<｜tool▁call▁end｜>', (entry) => {
      const [, name, given] =
        /^\s*function<｜tool▁sep｜>(\S+)\s*```json\s(.*?)(?:```\s*)?$/s.exec(entry) ??
        /^\s*(\S+?)<｜tool▁sep｜>(.*)$/s.exec(entry) ??
        [];
      return name === undefined || given === undefined ? undefined : { name, arguments: given };
    }),
};

/** Kimi K2, whose ids tell name and number, and are told back to it. */
const kimi: CallForm = {
  name: 'Kimi K2',
  ...{ begin: '<|tool_calls_section_begin|>', end: '<|tool_calls_section_end|>', idOf },
  within: ['<|tool_call_begin|>', '<|tool_call_argument_begin|>', '<|tool_call_end|>'],
  callsOf: (body) =>
    entriesOf(body, '<|tool_call_begin|>', '<|tool_call_end|>', (entry) => {
      const [, id, name, given] =
        /^\s*((?:functions\.)?(\S+?)(?::\d+)?)\s*<\|tool_call_argument_begin\|>(.*)$/s.exec(
          entry,
        ) ?? [];
      return name === undefined || given === undefined ? undefined : { id, name, arguments: given };
    }),
};

/** Mistral: a list in JSON, or a name and its arguments for each mark. Its templates refuse ids of another length. */
const mistral: CallForm = {
  name: 'Mistral',
  begin: '[TOOL_CALLS]',
  within: ['[ARGS]', '[CALL_ID]'],
  callsOf: (body) => {
    const calls = body.split('[TOOL_CALLS]').map((part) => {
      const named = /^\s*([\w.-]+)(?:\[CALL_ID\](\w+))?(?:\[ARGS\])?\s*(\{.*)$/s.exec(part);
      if (named === null) return callsInJson(part);
      const [, name = '', id, given = ''] = named;
      return isJsonObject(given) ? [{ id, name, arguments: given.trim() }] : undefined;
    });
    return calls.some((some) => some === undefined) ? undefined : (calls.flat() as Call[]);
  },
  idOf: (hash) => hash.slice(0, 9),
};

/** Granite 3: a list in JSON. */
const granite: CallForm = {
  name: 'Granite',
  ...{ begin: '<|tool_call|>', within: [], idOf },
  callsOf: (body) => callsInJson(body),
};

const forms: readonly CallForm[] = [hermes, deepSeek, kimi, mistral, granite];

/** The form that a chat template makes its model write; undefined where none is known. */
export const callFormOf = (template: string): CallForm | undefined =>
  forms.find(({ begin }) => template.includes(begin));

/** Calls that each stand between two marks, the last of which may be missing. */
function entriesOf(
  body: string,
  open: string,
  close: string,
  callOf: (entry: string) => Call | undefined,
): readonly Call[] | undefined {
  const [before = '', ...entries] = body.split(open);
  if (before.trim() !== '' || entries.length === 0) return undefined;
  const calls: Call[] = [];
  for (const entry of entries) {
    const [inside = '', ...after] = entry.split(close);
    const call = callOf(inside);
    // Where even the mark of the end is missing, arguments may be, too.
    const given = call?.arguments.trim() || (after.length > 0 ? '{}' : '');
    if (call === undefined || after.join('').trim() !== '' || !isJsonObject(given))
      return undefined;
    calls.push({ ...call, arguments: given });
  }
  return calls;
}

/** A whole call as a piece of an answer. */
export const pieceOf = (
  { id, name, ...call }: Call,
  index: number,
  makeId: (call: number) => string,
): ToolCallPiece => ({
  ...{ index, id: id ?? makeId(index), name },
  arguments: call.arguments,
});
