// Sequences of made-up prompts that run at once, and how long they take.
import type { MoEModel } from '../../model/model.js';

export interface Sequences {
  promptTokens: number;
  sequences: number;
  newTokens: number;
  signal: AbortSignal;
}

/** Of all sequences together. */
export interface ModelRun {
  promptTokensPerSecond: number;
  tokensPerSecond: number;
}

/**
 * Runs prompts alone, then the same ones with what comes behind them: they are found in the cache then, so that all sequences generate
 * at the same time.
 */
export async function runSequences(
  model: MoEModel,
  { promptTokens, sequences, newTokens, signal, round }: Sequences & { round: number },
): Promise<ModelRun> {
  const prompts = promptsOf(model, { promptTokens, sequences }, round + 1);
  const begin = performance.now();
  await Promise.all(prompts.map((tokens) => timesOf(model, tokens, 1, signal)));
  const promptSeconds = (performance.now() - begin) / 1e3;
  const times = await Promise.all(
    prompts.map((tokens) => timesOf(model, tokens, newTokens, signal)),
  );
  // While all of them generate.
  const from = Math.max(...times.map((each) => each[0] as number));
  const to = Math.min(...times.map((each) => each.at(-1) as number));
  const generated = times.flat().filter((time) => time > from && time <= to).length;
  return {
    promptTokensPerSecond: (promptTokens * sequences) / promptSeconds,
    tokensPerSecond: generated / ((to - from) / 1e3),
  };
}

/**
 * Runs a few steps that do not count.
 *
 * @returns experts that a step of generation reads, of all layers, on average: those of as many tokens of a text
 */
export async function warmUp(
  model: MoEModel,
  { promptTokens, sequences, signal }: Sequences,
): Promise<number> {
  const prompts = promptsOf(model, { promptTokens, sequences }, 0);
  await Promise.all(prompts.map((tokens) => timesOf(model, tokens, watchedSteps, signal)));
  const active: number[] = [];
  for (let step = 0; step < watchedSteps; step++) {
    const before = model.load();
    const tokens = Int32Array.from(prompts, (prompt) => prompt[step % prompt.length] as number);
    await model.logits(tokens, { signal });
    active.push(differing(before, model.load()));
  }
  return median(active);
}

const differing = (before: readonly Float64Array[], now: readonly Float64Array[]): number =>
  now.reduce(
    (sum, layer, at) =>
      sum + layer.filter((load, expert) => load > (before[at]?.[expert] ?? 0)).length,
    0,
  );

const watchedSteps = 8;

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

const asked = (tokens: Int32Array, maxTokens: number, signal: AbortSignal) =>
  ({ tokens, maxTokens, temperature: 0, ignoreEos: true, signal }) as const;

/** When each token came. */
async function timesOf(
  model: MoEModel,
  tokens: Int32Array,
  maxTokens: number,
  signal: AbortSignal,
): Promise<number[]> {
  const times: number[] = [];
  for await (const piece of model.generate(asked(tokens, maxTokens, signal)))
    for (const _ of piece.tokens) times.push(performance.now());
  return times;
}

/** Prompts that do not begin alike. */
function promptsOf(
  { vocabularySize }: MoEModel,
  { promptTokens, sequences }: Pick<Sequences, 'promptTokens' | 'sequences'>,
  round: number,
): Int32Array[] {
  return Array.from({ length: sequences }, (_, sequence) => {
    let state = (round * 1009 + sequence) * 2654435761 + promptTokens;
    return Int32Array.from({ length: promptTokens }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * vocabularySize);
    });
  });
}
