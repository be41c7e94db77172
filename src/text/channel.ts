import type { CalledText } from './call_forms.js';
import { Detokenizer } from './detokenizer.js';
import type { TextTokenizer } from './types.js';

/** Text of an answer, by what it is for. */
export interface ChannelText extends CalledText {
  reasoning: string;
}

/** Which part of an answer a token belongs to: what the user reads, or what the model thought before. */
export interface Channels {
  /** Takes a token; gives what is certain now. */
  push(token: number): ChannelText;
  /** Whether tokens belong to the reasoning now. */
  readonly reasons: boolean;
  /** @param isCut whether the answer was ended by something else than its model */
  end(isCut: boolean): ChannelText;
}

export type Vocabulary = Pick<TextTokenizer, 'bytes' | 'special' | 'id'>;

/** Everything is text. */
export class PlainText implements Channels {
  readonly reasons = false;
  readonly #detokenizer: Detokenizer;

  constructor(tokenizer: Vocabulary) {
    this.#detokenizer = new Detokenizer(tokenizer);
  }

  push(token: number): ChannelText {
    return { text: this.#detokenizer.push(token), reasoning: '', toolCalls: [] };
  }

  end(): ChannelText {
    return { text: this.#detokenizer.end(), reasoning: '', toolCalls: [] };
  }
}
