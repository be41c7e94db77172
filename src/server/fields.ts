import { boolean, choice, integer, type Kind, number } from '../base/rows.js';
import type { GenerateOptions } from '../model/types.js';
import {
  biasKind,
  idsKind,
  messagesKind,
  objectKind,
  promptKind,
  stopKind,
  streamOptionsKind,
  textKind,
  toolsKind,
} from './field_kinds.js';
import type { Route, Wanted } from './wanted.js';

/** A field that has an effect. */
interface Taken {
  readonly is: 'taken';
  readonly kind: Kind;
  readonly take: (wanted: Wanted, value: never) => void;
}

/** A field that would have an effect and is not supported: any value but those that change nothing is refused. */
interface Refused {
  readonly is: 'refused';
  readonly harmless: readonly unknown[];
}

/** A field that changes no answer. */
interface Ignored {
  readonly is: 'ignored';
}

/** One field of a request. `null` is what a field is that is left out. */
export type Field = (Taken | Refused | Ignored) & {
  readonly name: string;
  readonly of: Route | 'both';
  /** A sentence of the documentation. */
  readonly means: string;
};

type Value<Name extends keyof GenerateOptions> = NonNullable<GenerateOptions[Name]>;

const taken = <T>(
  name: string,
  of: Field['of'],
  kind: Kind,
  means: string,
  take: (wanted: Wanted, value: T) => void,
): Field => ({ is: 'taken', name, of, kind, means, take });

/** A field that is an option of `generate`. */
const option = <Name extends keyof GenerateOptions>(
  name: string,
  key: Name,
  kind: Kind,
  means: string,
  as: (value: Value<Name>) => Value<Name> = (value) => value,
): Field =>
  taken(name, 'both', kind, means, ({ options }, value: Value<Name>) => {
    options[key] = as(value);
  });

/** A field that is one of `Wanted`. */
const setting = <Name extends keyof Wanted>(
  name: string,
  of: Field['of'],
  key: Name,
  kind: Kind,
  means: string,
): Field =>
  taken(name, of, kind, means, (wanted, value: Wanted[Name]) => {
    wanted[key] = value;
  });

const refused = (
  name: string,
  of: Field['of'],
  means: string,
  ...harmless: readonly unknown[]
): Field => ({ is: 'refused', name, of, means, harmless });

const ignored = (name: string, of: Field['of'], means: string): Field => ({
  is: 'ignored',
  name,
  of,
  means,
});

const templateOption = (wanted: Wanted, more: object) => {
  wanted.options.chatTemplateOptions = { ...wanted.options.chatTemplateOptions, ...more };
};

const takenFields: readonly Field[] = [
  setting('model', 'both', 'model', textKind, 'The name of the model; 404 for another.'),
  setting(
    'messages',
    'chat',
    'messages',
    messagesKind,
    'The chat. Contents are text or text parts.',
  ),
  taken(
    'prompt',
    'completions',
    promptKind,
    'A text, a list of token ids, or a list of either, each of which is answered.',
    (wanted, prompt: string | string[] | number[] | number[][]) => {
      wanted.prompts =
        typeof prompt === 'string' || typeof prompt[0] === 'number'
          ? [prompt as string | number[]]
          : (prompt as string[] | number[][]);
    },
  ),
  option('max_tokens', 'maxTokens', integer(1), 'Of the answer. Completions have 16 otherwise.'),
  taken(
    'max_completion_tokens',
    'chat',
    integer(1),
    'The newer name of `max_tokens`.',
    ({ options }, value: number) => {
      options.maxTokens = value;
    },
  ),
  option('min_tokens', 'minTokens', integer(0), 'No stop before so many tokens.'),
  option('temperature', 'temperature', number({ atLeast: 0 }), '0 takes the likeliest token.'),
  option(
    'top_p',
    'topP',
    number({ above: 0, atMost: 1 }),
    'Only the likeliest tokens of that sum.',
  ),
  option('top_k', 'topK', integer(-1), 'Only so many likeliest tokens; -1 and 0: all.', (k) =>
    Math.max(k, 0),
  ),
  option(
    'min_p',
    'minP',
    number({ atLeast: 0, atMost: 1 }),
    'Only tokens of at least this part of the likeliest one’s probability.',
  ),
  option(
    'repetition_penalty',
    'repetitionPenalty',
    number({ above: 0 }),
    'Divides (negative: multiplies) logits of all tokens so far.',
  ),
  option(
    'repeat_penalty',
    'repetitionPenalty',
    number({ above: 0 }),
    'llama.cpp’s name of `repetition_penalty`.',
  ),
  option(
    'presence_penalty',
    'presencePenalty',
    number({ atLeast: -2, atMost: 2 }),
    'Taken from logits of generated tokens.',
  ),
  option(
    'frequency_penalty',
    'frequencyPenalty',
    number({ atLeast: -2, atMost: 2 }),
    'Taken from logits of generated tokens, for each time.',
  ),
  option('logit_bias', 'logitBias', biasKind, 'Added to logits: `{ "TOKEN ID": -100 to 100 }`.'),
  option('stop', 'stop', stopKind, 'A string or strings before which the text ends.'),
  option('stop_token_ids', 'stopTokens', idsKind, 'Tokens that end the text.'),
  option('ignore_eos', 'ignoreEos', boolean, 'The model’s end tokens do not end the text.'),
  option(
    'seed',
    'seed',
    integer(Number.MIN_SAFE_INTEGER),
    'The same request with the same seed has the same answer. A new one otherwise; the answer names it.',
    (seed) => BigInt.asUintN(64, BigInt(seed)),
  ),
  setting('n', 'both', 'n', integer(1, 128), 'Answers to each prompt.'),
  setting('stream', 'both', 'stream', boolean, 'Server-sent events instead of one document.'),
  taken(
    'stream_options',
    'both',
    streamOptionsKind,
    '`include_usage`: one more event, with the usage.',
    (wanted, value: { include_usage?: boolean | null }) => {
      wanted.usageInStream = value.include_usage === true;
    },
  ),
  setting('logprobs', 'chat', 'logprobs', boolean, 'Log-probabilities of the tokens.'),
  setting(
    'top_logprobs',
    'chat',
    'topLogprobs',
    integer(0, 20),
    'And of so many likeliest ones, with `logprobs`.',
  ),
  taken(
    'logprobs',
    'completions',
    integer(0, 20),
    'Log-probabilities of the tokens, and of so many likeliest ones. With `echo` 0: of the prompt, too.',
    ({ options }, value: number) => {
      options.logprobs = value;
    },
  ),
  setting('echo', 'completions', 'echo', boolean, 'The prompt stands before the text.'),
  taken(
    'tools',
    'chat',
    toolsKind,
    'Functions that the model may call, where its template has calls of a known form; else 400.',
    ({ options }, tools: []) => {
      if (tools.length > 0) options.tools = tools;
    },
  ),
  setting(
    'tool_choice',
    'chat',
    'toolChoice',
    choice(['none', 'auto']),
    '`none` hides the tools. Calls cannot be forced.',
  ),
  setting(
    'parallel_tool_calls',
    'chat',
    'severalToolCalls',
    boolean,
    '`false`: only the first call of an answer.',
  ),
  taken(
    'reasoning_effort',
    'chat',
    textKind,
    'A variable of the chat template.',
    (wanted, value: string) => templateOption(wanted, { reasoning_effort: value }),
  ),
  taken(
    'chat_template_kwargs',
    'chat',
    objectKind,
    'Variables of the chat template, such as `{ "enable_thinking": false }`.',
    templateOption,
  ),
  setting(
    'include_stop_str_in_output',
    'both',
    'stopInText',
    boolean,
    'The stop string stands behind the text.',
  ),
  setting(
    'return_tokens_as_token_ids',
    'both',
    'tokensAsIds',
    boolean,
    'Log-probabilities name tokens as `token_id:123`.',
  ),
];

const refusedFields: readonly Field[] = [
  refused('response_format', 'chat', 'Answers cannot be given a form.', { type: 'text' }),
  refused('functions', 'chat', 'The older form of `tools`.', []),
  refused('function_call', 'chat', 'The older form of `tool_choice`.', 'none', 'auto'),
  refused('modalities', 'chat', 'Answers are text.', ['text']),
  refused('audio', 'chat', 'Answers are text.'),
  refused('web_search_options', 'chat', 'Nothing is searched.'),
  refused('verbosity', 'chat', 'Ask for it in a message.', 'medium'),
  refused('documents', 'chat', 'Use `chat_template_kwargs`.', []),
  refused('chat_template', 'chat', 'The model’s own is used.'),
  refused(
    'add_generation_prompt',
    'chat',
    'The model always answers with a message of its own.',
    true,
  ),
  refused(
    'continue_final_message',
    'chat',
    'The model always answers with a message of its own.',
    false,
  ),
  refused('suffix', 'completions', 'A text goes on at its end only.'),
  refused('best_of', 'both', 'Ask for `n` and choose.', 1),
  refused('prompt_logprobs', 'both', 'Completions have them with `echo` and `logprobs: 0`.'),
  refused('use_beam_search', 'both', 'There is no beam search.', false),
  refused('length_penalty', 'both', 'There is no beam search.', 1),
  refused('skip_special_tokens', 'both', 'Special tokens are never text.', true),
  refused('truncate_prompt_tokens', 'both', 'Nothing is ever cut.'),
  refused('allowed_token_ids', 'both', 'Use `logit_bias`.'),
  refused('bad_words', 'both', 'Use `logit_bias`.', []),
  refused('return_token_ids', 'both', 'Use `return_tokens_as_token_ids`.', false),
  refused('cache_salt', 'both', 'All requests share one prefix cache.'),
  refused('priority', 'both', 'First come, first served.', 0),
  ...['structured_outputs', 'guided_json', 'guided_regex', 'guided_choice', 'guided_grammar'].map(
    (name) => refused(name, 'both', 'Answers cannot be given a form.'),
  ),
  ...['json_schema', 'grammar'].map((name) =>
    refused(name, 'both', 'Answers cannot be given a form.'),
  ),
  refused('typical_p', 'both', 'This sampler of llama.cpp is not there.', 1),
  refused('top_n_sigma', 'both', 'This sampler of llama.cpp is not there.', -1),
  refused('xtc_probability', 'both', 'This sampler of llama.cpp is not there.', 0),
  refused('dry_multiplier', 'both', 'This sampler of llama.cpp is not there.', 0),
  refused('mirostat', 'both', 'This sampler of llama.cpp is not there.', 0),
  refused('samplers', 'both', 'The order of samplers is fixed.'),
];

const ignoredFields: readonly Field[] = [
  ...['user', 'safety_identifier', 'metadata', 'store'].map((name) =>
    ignored(name, 'both', 'Nothing is kept of a request.'),
  ),
  ...['prompt_cache_key', 'prompt_cache_retention', 'cache_prompt'].map((name) =>
    ignored(name, 'both', 'Equal beginnings are always found.'),
  ),
  ignored('service_tier', 'chat', 'There is one.'),
  ignored('prediction', 'chat', 'It changes no answer.'),
];

/** Every field that is known: parsing, documentation and tests read the same. */
export const fields: readonly Field[] = [...takenFields, ...refusedFields, ...ignoredFields];
