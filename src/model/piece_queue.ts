import type { Piece } from './types.js';

/**
 * Pieces on their way to one reader. Those that come while it is busy become one, so a slow reader has one wake-up for many steps,
 * and what is kept is never more than the answer.
 */
export class PieceQueue implements AsyncIterable<Piece> {
  #piece: Piece | undefined;
  #ended: { reason: unknown } | undefined;
  #wake: (() => void) | undefined;

  add(piece: Piece): void {
    this.#piece = this.#piece === undefined ? piece : joined(this.#piece, piece);
    this.#wake?.();
  }

  /** Nothing more will come; with a reason, the reader's loop throws it behind what has come. */
  end(reason: unknown): void {
    this.#ended ??= { reason };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Piece> {
    for (;;) {
      const piece = this.#piece;
      this.#piece = undefined;
      if (piece !== undefined) yield piece;
      else if (this.#ended !== undefined) {
        if (this.#ended.reason !== undefined) throw this.#ended.reason;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}

function joined(before: Piece, piece: Piece): Piece {
  const logprobs = before.logprobs && [...before.logprobs, ...(piece.logprobs ?? [])];
  return {
    ...before,
    ...piece,
    text: before.text + piece.text,
    reasoning: before.reasoning + piece.reasoning,
    toolCalls: [...before.toolCalls, ...piece.toolCalls],
    tokens: [...before.tokens, ...piece.tokens],
    ...(logprobs && { logprobs }),
  };
}
