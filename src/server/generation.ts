import type {
  GenerateOptions,
  Piece,
  TextModel,
  TokenLogprob,
  ToolCall,
  Usage,
} from '../model/types.js';
import { Collected } from '../text/collected.js';
import { GrowingLists } from './growing_lists.js';
import { type Ending, Meter, type Metrics } from './metrics.js';
import type { Wanted } from './wanted.js';

/** The end of a sequence's last piece. */
export type LastPiece = Piece & Required<Pick<Piece, 'finishReason' | 'usage'>>;

/** One answer, whole. */
export interface Answer {
  text: string;
  reasoning: string;
  toolCalls: ToolCall[];
  logprobs: GrowingLists | null;
  last: LastPiece;
}

/**
 * Runs the sequences of one request, all at once. When one fails or the request is stopped, all end.
 *
 * @param onPiece is called for every piece of the sequence of that index
 * @returns each sequence's usage
 */
export async function generateAll(
  model: TextModel,
  sequences: readonly GenerateOptions[],
  { wanted, stop, metrics }: { wanted: Wanted; stop: AbortController; metrics: Metrics },
  onPiece: (index: number, piece: Piece) => void,
): Promise<Usage[]> {
  metrics.observe('request_params_n', wanted.n);
  const each = sequences.map(async (options, index) => {
    const meter = new Meter(metrics, options);
    let ending: Ending = 'error';
    let usage: Usage | undefined;
    try {
      for await (const piece of model.generate({ ...options, signal: stop.signal })) {
        meter.piece(piece);
        onPiece(index, shaped(piece, wanted));
        if (piece.finishReason === undefined) continue;
        ending = piece.finishReason;
        usage = piece.usage;
      }
      if (usage === undefined) throw new Error('The model ended a text without its usage');
      return usage;
    } catch (error) {
      // What stopped the others is the reason that the client is told.
      const first = stop.signal.aborted ? stop.signal.reason : error;
      ending = stop.signal.aborted ? 'abort' : 'error';
      stop.abort(error);
      throw first;
    } finally {
      meter.end(ending);
    }
  });
  // Nothing of a request runs on when it is answered.
  await Promise.allSettled(each);
  return Promise.all(each);
}

/** The piece as the request wants it. */
function shaped(piece: Piece, { stopInText, severalToolCalls }: Wanted): Piece {
  const { stopReason, toolCalls, text } = piece;
  return {
    ...piece,
    text: stopInText && typeof stopReason === 'string' ? text + stopReason : text,
    toolCalls: severalToolCalls ? toolCalls : toolCalls.filter(({ index }) => index === 0),
  };
}

/** Log-probabilities as an answer has them: lists; null where nobody asked for them. */
export type LogprobLists = Readonly<Record<string, readonly unknown[] | null>> | null;

/** Puts the pieces of one answer together. */
export class Collector {
  readonly #collected = new Collected();
  readonly #shown: (logprobs: readonly TokenLogprob[]) => LogprobLists;
  #logprobs: GrowingLists | null = null;
  #last: LastPiece | undefined;

  /** @param shown how the answer shows log-probabilities */
  constructor(shown: (logprobs: readonly TokenLogprob[]) => LogprobLists) {
    this.#shown = shown;
  }

  add(piece: Piece): void {
    this.#collected.add(piece);
    const shown = this.#shown(piece.logprobs ?? []);
    if (shown !== null) {
      this.#logprobs ??= new GrowingLists();
      this.#logprobs.add(shown);
    }
    if (piece.finishReason !== undefined) this.#last = piece as LastPiece;
  }

  /** Once the last piece was added. */
  get answer(): Answer {
    const { text, reasoning, toolCalls } = this.#collected;
    const last = this.#last as LastPiece;
    return { text, reasoning, toolCalls, logprobs: this.#logprobs, last };
  }
}

/** The usage of a request: prompts count once, however many answers they have. */
export function usageOf(usages: readonly Usage[], n: number) {
  const sum = (key: keyof Usage, of: readonly Usage[]) =>
    of.reduce((all, one) => all + one[key], 0);
  const prompts = usages.filter((_, index) => index % n === 0);
  const [prompt, completion] = [sum('promptTokens', prompts), sum('completionTokens', usages)];
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum('cachedTokens', prompts) },
    completion_tokens_details: { reasoning_tokens: sum('reasoningTokens', usages) },
  };
}
