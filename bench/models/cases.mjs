// What is measured of a model, and the tokens of its prompts.

/** Tokens that each sequence generates in a call that is timed. */
export const steps = 16;

/** A prompt is computed; sequences generate at once; one generates behind a long text. Rates count `tokens` per call. */
export const cases = {
  'prompt 16': { kind: 'prompt', size: 16, tokens: 16 },
  'prompt 128': { kind: 'prompt', size: 128, tokens: 128 },
  'prompt 512': { kind: 'prompt', size: 512, tokens: 512 },
  'sequences 1': { kind: 'sequences', size: 1, behind: 8, tokens: steps },
  'sequences 4': { kind: 'sequences', size: 4, behind: 8, tokens: 4 * steps },
  'sequences 16': { kind: 'sequences', size: 16, behind: 8, tokens: 16 * steps },
  'behind 8192': { kind: 'sequences', size: 1, behind: 8192, tokens: steps },
};

export const caseNames = Object.keys(cases);

/** Made-up tokens, others for each seed. */
export const tokensOf = (count, seed) =>
  Array.from({ length: count }, (_, i) => (i * 7919 + seed * 104729) % 31000);

/** The way of llama.cpp that is faster, with flash attention or without; undefined where it did not run. */
export const better = ({ peers }) =>
  peers.toSorted((a, b) => b.tokensPerSecond - a.tokensPerSecond)[0];
