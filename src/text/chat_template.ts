import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, MoEError } from '../base/errors.js';
import { Escaped } from './escape.js';
import type { CheckpointTokenizer } from './tokenizer.js';
import type { Chat, ChatMessage, Tool } from './types.js';

/** Time that a template may take. They take less than a millisecond. */
const milliseconds = 5000;
/** Characters that a template may write. */
const mostCharacters = 2 ** 26;

/** A model's way to write a chat as one text. */
export class ChatTemplate {
  readonly source: string;
  readonly #withTools: string;
  readonly #tokenizer: CheckpointTokenizer;

  private constructor(tokenizer: CheckpointTokenizer, source: string, withTools: string) {
    this.#tokenizer = tokenizer;
    this.source = source;
    this.#withTools = withTools;
  }

  /**
   * The template of a checkpoint: of `chat_template.jinja` and `additional_chat_templates`, else of `tokenizer_config.json`; undefined
   * where there is none.
   */
  static async open(
    folder: string,
    tokenizer: CheckpointTokenizer,
  ): Promise<ChatTemplate | undefined> {
    const inFiles = await templatesIn(folder);
    return inFiles.size > 0 ? ChatTemplate.#named(tokenizer, inFiles) : ChatTemplate.of(tokenizer);
  }

  /** The template of the tokenizer's config; undefined where there is none. */
  static of(tokenizer: CheckpointTokenizer): ChatTemplate | undefined {
    return ChatTemplate.#named(tokenizer, templatesOf(tokenizer.config['chat_template']));
  }

  static #named(
    tokenizer: CheckpointTokenizer,
    named: ReadonlyMap<string, string>,
  ): ChatTemplate | undefined {
    const source = named.get('default');
    return source === undefined
      ? undefined
      : new ChatTemplate(tokenizer, source, named.get('tool_use') ?? source);
  }

  /** What writes a chat with these tools: some checkpoints have a template of its own for it. */
  sourceFor(tools: readonly Tool[] | undefined): string {
    return tools === undefined || tools.length === 0 ? this.source : this.#withTools;
  }

  /**
   * Writes a chat. What stands for special tokens inside it is kept as text unless `specialTokens` is `allow`: its
   * letters are then tokens of their own, so that no message can begin another's turn.
   *
   * @returns pieces to encode one by one; put together they are the text
   * @throws `MoEError` with what the template says against the chat, or when it takes too long
   */
  async render(
    { messages, tools, chatTemplateOptions, specialTokens = 'escape' }: Chat,
    signal?: AbortSignal,
  ): Promise<string[]> {
    const escaped = new Escaped(specialTokens === 'escape' ? this.#tokenizer.controlTexts : []);
    const variables = {
      ...specialTokensOf(this.#tokenizer.config),
      add_generation_prompt: true,
      ...chatTemplateOptions,
      messages: escaped.in(messages.map(forTemplate)),
      ...(tools !== undefined && tools.length > 0 && { tools: escaped.in(tools) }),
    };
    const source = this.sourceFor(tools);
    const limits = { milliseconds, signal };
    const text = await this.#tokenizer.worker.render(source, variables, limits);
    if (text.length > mostCharacters)
      throw new MoEError(
        'ERR_MOE_CONFIG',
        `Expected the chat template to write at most ${mostCharacters} characters`,
      );
    return escaped.segments(text);
  }
}

/** Templates by their names, of files as Transformers writes them. */
async function templatesIn(folder: string): Promise<ReadonlyMap<string, string>> {
  const further = join(folder, 'additional_chat_templates');
  const files = (await orMissing(readdir(further))) ?? [];
  const paths = new Map(
    files
      .filter((file) => file.endsWith('.jinja'))
      .map((file): [string, string] => [file.slice(0, -'.jinja'.length), join(further, file)]),
  );
  paths.set('default', join(folder, 'chat_template.jinja'));
  const templates = new Map<string, string>();
  for (const [name, path] of paths) {
    const template = await orMissing(readFile(path, 'utf8'));
    if (template !== undefined) templates.set(name, template);
  }
  return templates;
}

/** One template, or some with names. */
const templatesOf = (said: unknown): ReadonlyMap<string, string> =>
  typeof said === 'string'
    ? new Map([['default', said]])
    : new Map(
        (Array.isArray(said) ? said : []).map(({ name, template }): [string, string] => [
          name,
          template,
        ]),
      );

function orMissing<Value>(found: Promise<Value>): Promise<Value | undefined> {
  return found.catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

/** Content as one text, and arguments of calls as the objects that templates expect. */
function forTemplate(message: ChatMessage, index: number): object {
  const { content: given, tool_calls: calls, ...rest } = message;
  const content = Array.isArray(given)
    ? given.map((part, at) => textOf(part, `messages[${index}].content[${at}]`)).join('')
    : (given ?? '');
  // The name that gpt-oss has for it; its template refuses a call with both.
  const thinking = calls !== undefined && content !== '' ? undefined : rest.reasoning_content;
  return {
    ...rest,
    content,
    ...(thinking && { thinking }),
    ...(calls !== undefined && {
      tool_calls: calls.map((call) => ({
        ...call,
        function: { ...call.function, arguments: parsed(call.function.arguments) },
      })),
    }),
  };
}

function textOf({ type, text }: { type: string; text?: string }, name: string): string {
  if (type === 'text' && typeof text === 'string') return text;
  throw new ConfigError(`Expected \`${name}\` to be a part of text, got one of type \`${type}\``);
}

function parsed(json: unknown): unknown {
  if (typeof json !== 'string') return json;
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}

/** `bos_token` and the like, which templates write. */
function specialTokensOf(config: Readonly<Record<string, unknown>>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(config)) {
    if (!name.endsWith('_token')) continue;
    const text =
      typeof value === 'object' && value !== null
        ? (value as { content?: unknown }).content
        : value;
    if (typeof text === 'string') tokens[name] = text;
  }
  return tokens;
}
