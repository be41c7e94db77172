/** One message of a chat, as OpenAI's API has it. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, `tool`, or what else the template knows. */
  role: string;
  /** Text, or parts of it; null beside calls of tools. */
  content?: string | null | readonly ChatPart[];
  /** Of whom it is, where several share a role. */
  name?: string;
  /** Of an assistant's message: `arguments` is JSON text. */
  tool_calls?: readonly ToolCall[];
  /** Of a tool's message: the call that it answers. */
  tool_call_id?: string;
  /** What an assistant thought before it answered. */
  reasoning_content?: string | null;
}

/** A part of a message's content. Only text is understood. */
export interface ChatPart {
  /** `text`. */
  type: string;
  /** What it says. */
  text?: string;
}

/** What a model is told of a function. */
export interface ToolFunction {
  /** By which the model calls it. */
  name: string;
  /** What it does. */
  description?: string;
  /** A JSON schema of its parameters. */
  parameters?: unknown;
  /** Whether calls must follow the schema. It has no effect: the model decides. */
  strict?: boolean | null;
}

/** A function that a model may call. */
export interface Tool {
  /** `function`. */
  type: 'function';
  /** Its name, what it does, and a JSON schema of its parameters. */
  function: ToolFunction;
}

/** A function with its arguments. */
export interface CalledFunction {
  /** Of the function. */
  name: string;
  /** As JSON text. */
  arguments: string;
}

/** A function that a model calls. */
export interface ToolCall {
  /** By which a tool’s message answers it. */
  id: string;
  /** `function`. */
  type: 'function';
  /** Its name, and its arguments as JSON text. */
  function: CalledFunction;
}

/** A piece of a tool call: the first of a call has id and name. */
export interface ToolCallPiece {
  /** Of the call among those of the answer. */
  index: number;
  /** By which a tool’s message answers it. */
  id?: string;
  /** Of the function. */
  name?: string;
  /** More of their JSON text. */
  arguments: string;
}

/** Text to token ids and back. */
export interface TextTokenizer {
  /** Tokens of a text. `specialTokens`: with what begins a text, default true. `signal`: ends waiting for them. */
  encode(
    text: string,
    options?: { specialTokens?: boolean; signal?: AbortSignal | undefined },
  ): Promise<Int32Array>;
  /** The text of tokens. `skipSpecial`: without special ones, default true. */
  decode(tokens: ArrayLike<number>, options?: { skipSpecial?: boolean }): string;
  /** The bytes that a token adds to a text; none for a special token or an id that is no token. */
  bytes(token: number): Uint8Array;
  /** The literal text of a special (added) token; undefined for others. */
  special(token: number): string | undefined;
  /** The id of a token. */
  id(token: string): number | undefined;
  /** Ids from here on are no tokens. */
  readonly size: number;
  /** The first space of a text stands for its beginning, and is no part of it. Default false. */
  readonly stripsFirstSpace?: boolean;
}

/** What a chat template makes text of. */
export interface Chat {
  /** In their order. */
  readonly messages: readonly ChatMessage[];
  /** Functions that the model may call. */
  readonly tools?: readonly Tool[] | undefined;
  /** Variables for the template, such as `{ enable_thinking: false }`. */
  readonly chatTemplateOptions?: Readonly<Record<string, unknown>> | undefined;
  /** What stands for special tokens inside messages stays text (`escape`, the default) or becomes tokens. */
  readonly specialTokens?: 'escape' | 'allow' | undefined;
}
