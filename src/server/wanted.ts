import type { ChatMessage, GenerateOptions } from '../model/types.js';

/** Whose fields: of `/v1/chat/completions` or of `/v1/completions`. */
export type Route = 'chat' | 'completions';

/** What a request asks for, in this package's words. */
export interface Wanted {
  model?: string;
  messages: ChatMessage[];
  prompts: (string | number[])[];
  /** Of every sequence, but for what it begins with. */
  options: GenerateOptions;
  /** Answers to each prompt. */
  n: number;
  stream: boolean;
  /** A stream ends with an event that has the usage. */
  usageInStream: boolean;
  /** The prompt stands before the text. */
  echo: boolean;
  /** The stop string stands behind the text. */
  stopInText: boolean;
  /** Log-probabilities name tokens by their ids. */
  tokensAsIds: boolean;
  toolChoice: 'none' | 'auto';
  /** More than one call of a tool in an answer. */
  severalToolCalls: boolean;
  /** Of chats. */
  logprobs: boolean;
  topLogprobs?: number;
}

export const nothingWanted = (): Wanted => ({
  messages: [],
  prompts: [],
  options: {},
  n: 1,
  stream: false,
  usageInStream: false,
  echo: false,
  stopInText: false,
  tokensAsIds: false,
  toolChoice: 'auto',
  severalToolCalls: true,
  logprobs: false,
});
