/** One message of a chat, as OpenAI's API has it. */
export interface ChatMessage {
  role: string;
  content?: string | null | readonly ChatPart[];
  name?: string;
  /** Of an assistant's message: `arguments` is JSON text. */
  tool_calls?: readonly ToolCall[];
  /** Of a tool's message: the call that it answers. */
  tool_call_id?: string;
  reasoning_content?: string | null;
}

/** A part of a message's content. Only text is understood. */
export interface ChatPart {
  type: string;
  text?: string;
}

/** A function that a model may call. */
export interface Tool {
  type: 'function';
  function: { name: string; description?: string; parameters?: unknown; strict?: boolean | null };
}

export interface ToolCall {
  id: string;
  type: 'function';
  function: { name: string; arguments: string };
}

/** A piece of a tool call: the first of a call has id and name. */
export interface ToolCallPiece {
  /** Of the call among those of the answer. */
  index: number;
  id?: string;
  name?: string;
  arguments: string;
}

/** Text to token ids and back. Bring your own where a checkpoint has none that is understood. */
export interface TextTokenizer {
  /** specialTokens: adds what begins a text, default true. */
  encode(text: string, options?: { specialTokens?: boolean }): Promise<Int32Array>;
  decode(tokens: ArrayLike<number>, options?: { skipSpecial?: boolean }): string;
  /** The bytes that a token adds to a text; none for a special token or an id that is no token. */
  bytes(token: number): Uint8Array;
  /** The literal text of a special (added) token; undefined for others. */
  special(token: number): string | undefined;
  id(token: string): number | undefined;
  /** Ids from here on are no tokens. */
  readonly size: number;
}
