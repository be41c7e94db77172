import type { Piece, TokenLogprob, ToolCallPiece } from './types.js';

type GrowingPiece = Piece & {
  toolCalls: ToolCallPiece[];
  tokens: number[];
  logprobs?: TokenLogprob[];
};

/**
 * Pieces on their way to one reader. Those that come while it is busy become one, so a slow reader has one wake-up for many steps,
 * and what is kept is never more than the answer.
 */
export class PieceQueue implements AsyncIterable<Piece> {
  #piece: GrowingPiece | undefined;
  #ended: { reason: unknown } | undefined;
  #wake: (() => void) | undefined;

  add(piece: Piece): void {
    this.#piece = joined(this.#piece, piece);
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

/** The lists grow in place: copies of them would cost the step's time for a reader that is far behind. */
function joined(before: GrowingPiece | undefined, piece: Piece): GrowingPiece {
  const { logprobs: likely, ...rest } = piece;
  const { text = '', reasoning = '', toolCalls = [], tokens = [], logprobs = [] } = before ?? {};
  toolCalls.push(...piece.toolCalls);
  tokens.push(...piece.tokens);
  logprobs.push(...(likely ?? []));
  return {
    ...rest,
    ...{ text: text + piece.text, reasoning: reasoning + piece.reasoning, toolCalls, tokens },
    ...(likely && { logprobs }),
  };
}
