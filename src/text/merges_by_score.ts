/** Two tokens that together are another, of this score. */
interface Merge {
  readonly pair: readonly [left: string, right: string];
  readonly score: number;
}

/**
 * SentencePiece's way to put tokens together, as merges: of all neighbours, those come first that together are the token of the
 * highest score. Where scores are equal the longer left part comes first, as in Transformers' conversion.
 *
 * @param scores by the text of each token that neighbours may be or become
 */
export function mergesByScore(
  scores: ReadonlyMap<string, number>,
): readonly (readonly [string, string])[] {
  const merges: Merge[] = [];
  for (const [text, score] of scores)
    for (let at = text.length - 1; at > 0; at--) {
      const left = text.slice(0, at);
      if (!scores.has(left)) continue;
      const right = text.slice(at);
      if (scores.has(right)) merges.push({ pair: [left, right], score });
    }
  merges.sort((one, two) => two.score - one.score || two.pair[0].length - one.pair[0].length);
  return merges.map(({ pair }) => pair);
}
