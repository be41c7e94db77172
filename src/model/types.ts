import type {
  Chat,
  ChatMessage,
  TextTokenizer,
  Tool,
  ToolCall,
  ToolCallPiece,
} from '../text/types.js';

export type {
  CalledFunction,
  Chat,
  ChatMessage,
  ChatPart,
  TextTokenizer,
  Tool,
  ToolCall,
  ToolCallPiece,
  ToolFunction,
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
  /** Default: what the context has left, at most 2048. */
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
  /** On logits of tokens generated so far, for each time. Default 0. */
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
  /** Ends the sequence. */
  signal?: AbortSignal;
}

/** How a text is scored. */
export interface ScoreOptions {
  /** Ends it. */
  signal?: AbortSignal;
}

/** A token by its log-probability. */
export interface LikelyToken {
  /** Its id. */
  token: number;
  /** Its bytes as text, which may be half a character. */
  text: string;
  /** What it adds to a text; the literal text of a special token. */
  bytes: Uint8Array;
  /** Natural, before temperature and penalties. */
  logprob: number;
}

/** The token that was chosen, and the likeliest. */
export interface TokenLogprob extends LikelyToken {
  /** The likeliest, as many as asked for. */
  top: readonly LikelyToken[];
}

/** `stop`: an end token or a stop string; `length`: `maxTokens` or the context. */
export type FinishReason = 'stop' | 'length' | 'tool_calls';

/** Tokens of a request. */
export interface Usage {
  /** Of the prompt. */
  promptTokens: number;
  /** Of the prompt: those that were in the cache. */
  cachedTokens: number;
  /** Generated ones, the one that ended the text among them. */
  completionTokens: number;
  /** Of the completion: those of reasoning. */
  reasoningTokens: number;
}

/** What a step added to a text. Any part may be empty. */
export interface Piece {
  /** What the answer goes on with. */
  text: string;
  /** What the model thinks before it answers. */
  reasoning: string;
  /** Calls of tools, piece by piece. */
  toolCalls: readonly ToolCallPiece[];
  /** Their ids. */
  tokens: readonly number[];
  /** Of each of the tokens, where they were asked for. */
  logprobs?: readonly TokenLogprob[];
  /** Of the last piece only. */
  finishReason?: FinishReason;
  /** Of the last piece, where a stop string or token ended it: which. */
  stopReason?: string | number;
  /** Of the last piece only. */
  usage?: Usage;
  /** Of the last piece only: what gives the same text again. */
  seed?: bigint;
}

/** A whole answer. */
export interface Completion {
  /** The answer. */
  text: string;
  /** What the model thought before it. */
  reasoning: string;
  /** Calls of tools. */
  toolCalls: readonly ToolCall[];
  /** The ids of all that was generated. */
  tokens: readonly number[];
  /** Of each of the tokens, where they were asked for. */
  logprobs?: readonly TokenLogprob[];
  /** Why it ended. */
  finishReason: FinishReason;
  /** Where a stop string or token ended it: which. */
  stopReason?: string | number;
  /** Tokens of prompt and answer. */
  usage: Usage;
  /** What gives the same text again. */
  seed: bigint;
}

/** What runs and waits in a model now. */
export interface ModelLoad {
  /** Sequences that have their place. */
  running: number;
  /** Sequences that wait for one. */
  waiting: number;
  /** Tokens that the cache has room for, and that are taken. */
  kvTokens: number;
  /** Those of them that are taken. */
  kvTokensUsed: number;
}

/** What a server needs of a model: `MoEModel` is one. */
export interface TextModel {
  /** As `config.json` has it. */
  readonly modelType: string;
  /** Tokens that one sequence may have. */
  readonly contextLength: number;
  /** Token ids are below it. */
  readonly vocabularySize: number;
  /** The source of the chat template. */
  readonly chatTemplate: string | undefined;
  /** Text to tokens and back. */
  readonly tokenizer: TextTokenizer;
  /** Generates text, piece by piece. */
  generate(options: GenerateOptions): AsyncIterableIterator<Piece>;
  /** Generates a whole answer. */
  complete(options: GenerateOptions): Promise<Completion>;
  /** Natural log-probabilities of a text's tokens after those before them, one less than tokens. */
  logprobs(tokens: ArrayLike<number>, options?: ScoreOptions): Promise<Float32Array>;
  /** The text that the chat template makes of `messages`. */
  applyTemplate(chat: Chat): Promise<string>;
  /** What runs and waits now. */
  inUse(): ModelLoad;
  /** Tokens that each expert has served, for each layer (empty: a dense one). */
  load(): Float64Array[];
}
