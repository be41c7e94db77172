import type { ChatMessage, TextTokenizer, Tool, ToolCall, ToolCallPiece } from '../text/types.js';

export type {
  ChatMessage,
  ChatPart,
  TextTokenizer,
  Tool,
  ToolCall,
  ToolCallPiece,
} from '../text/types.js';

/** What to generate, and how. Exactly one of `prompt`, `messages`, `tokens`. */
export interface GenerateOptions {
  /** Text, to which the tokenizer adds what begins a text. */
  prompt?: string;
  /** A chat, which the model's template turns into text. */
  messages?: readonly ChatMessage[];
  /** Token ids, taken as they are. */
  tokens?: ArrayLike<number>;
  /** With `messages`: functions that the model may call. */
  tools?: readonly Tool[];
  /** With `messages`: variables for the template, such as `{ enable_thinking: false }`. */
  chatTemplateOptions?: Readonly<Record<string, unknown>>;
  /** With `messages`: what stands for special tokens inside them stays text (`escape`, the default) or becomes tokens. */
  specialTokens?: 'escape' | 'allow';
  /** Default: what the context has left. */
  maxTokens?: number;
  /** No stop before so many tokens. Default 0. */
  minTokens?: number;
  /** 0: always the likeliest token. Default: the checkpoint's generation_config.json, else 1. */
  temperature?: number;
  /** 0: all. Default: the checkpoint's, else 0. */
  topK?: number;
  /** Default: the checkpoint's, else 1. */
  topP?: number;
  /** Default: the checkpoint's, else 0. */
  minP?: number;
  /** On logits of all tokens so far. Default: the checkpoint's, else 1. */
  repetitionPenalty?: number;
  /** On logits of tokens generated so far. Default 0. */
  presencePenalty?: number;
  frequencyPenalty?: number;
  /** Added to the logits of these token ids. */
  logitBias?: Readonly<Record<number, number>>;
  /** The text ends before the first of these. */
  stop?: string | readonly string[];
  /** Besides the checkpoint's end tokens. */
  stopTokens?: readonly number[];
  /** The checkpoint's end tokens do not end the text. Default false. */
  ignoreEos?: boolean;
  /** Of the random numbers, from 0 to 2^64 - 1. Default: a new one, told in the result. */
  seed?: number | bigint;
  /** The number of this answer among those of one seed. Default 0. */
  choice?: number;
  /** Log-probabilities of each token, and of so many likeliest ones (0 to 20). Default: none at all. */
  logprobs?: number;
  signal?: AbortSignal;
}

/** A token's natural log-probability before temperature and penalties. */
export interface TokenLogprob {
  token: number;
  /** Its bytes as text, which may be half a character. */
  text: string;
  bytes: Uint8Array;
  logprob: number;
  /** The likeliest, as many as asked for. */
  top: readonly { token: number; text: string; bytes: Uint8Array; logprob: number }[];
}

/** `stop`: an end token or a stop string; `length`: `maxTokens` or the context. */
export type FinishReason = 'stop' | 'length' | 'tool_calls';

export interface Usage {
  promptTokens: number;
  /** Of the prompt: those that were in the cache. */
  cachedTokens: number;
  completionTokens: number;
  /** Of the completion: those of reasoning. */
  reasoningTokens: number;
}

/** What a step added to a text. Any part may be empty. */
export interface Piece {
  text: string;
  reasoning: string;
  toolCalls: readonly ToolCallPiece[];
  tokens: readonly number[];
  logprobs?: readonly TokenLogprob[];
  /** Of the last piece only. */
  finishReason?: FinishReason;
  /** Of the last piece, where a stop string or token ended it: which. */
  stopReason?: string | number;
  usage?: Usage;
  seed?: bigint;
}

/** A whole answer. */
export interface Completion {
  text: string;
  reasoning: string;
  toolCalls: readonly ToolCall[];
  tokens: readonly number[];
  logprobs?: readonly TokenLogprob[];
  finishReason: FinishReason;
  stopReason?: string | number;
  usage: Usage;
  seed: bigint;
}

/** What runs and waits in a model now. */
export interface ModelLoad {
  running: number;
  waiting: number;
  /** Tokens that the cache has room for, and that are taken. */
  kvTokens: number;
  kvTokensUsed: number;
}

/** What a server needs of a model: `MoEModel` is one. */
export interface TextModel {
  readonly modelType: string;
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly chatTemplate: string | undefined;
  readonly tokenizer: TextTokenizer;
  generate(options: GenerateOptions): AsyncIterableIterator<Piece>;
  complete(options: GenerateOptions): Promise<Completion>;
  /** The tokens that `messages` become. */
  applyTemplate(
    options: Pick<GenerateOptions, 'messages' | 'tools' | 'chatTemplateOptions' | 'specialTokens'>,
  ): Promise<string>;
  inUse(): ModelLoad;
  /** Tokens that each expert has served, for each layer (empty: a dense one). */
  load(): Float64Array[];
}
