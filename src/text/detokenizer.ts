import type { TextTokenizer } from './types.js';

/** Tokens to text, as they come: bytes are held back until they are whole characters. */
export class Detokenizer {
  readonly #tokenizer: Pick<TextTokenizer, 'bytes'>;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(tokenizer: Pick<TextTokenizer, 'bytes'>) {
    this.#tokenizer = tokenizer;
  }

  push(token: number): string {
    return this.#decoder.decode(this.#tokenizer.bytes(token), { stream: true });
  }

  /** What is left, incomplete characters as U+FFFD. */
  end(): string {
    return this.#decoder.decode();
  }
}
