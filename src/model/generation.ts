// What generation_config.json says, which stands beside config.json and comes before it.
import { expectBoolean, expectInteger, expectNumber, unexpected } from '../base/checks.js';

type Json = Readonly<Record<string, unknown>>;

/** How a checkpoint's tokens are to be sampled where nobody says otherwise. */
export interface SamplingDefaults {
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
}

export interface GenerationDefaults {
  /** Any of them ends a text. */
  endTokens: readonly number[];
  sampling: SamplingDefaults;
  notes: readonly string[];
}

const sampled: readonly [key: string, name: keyof SamplingDefaults, check: Check][] = [
  ['temperature', 'temperature', (name, value) => expectNumber(name, value, { atLeast: 0 })],
  ['top_k', 'topK', (name, value) => expectInteger(name, value, 0)],
  ['top_p', 'topP', (name, value) => expectNumber(name, value, { above: 0, atMost: 1 })],
  ['min_p', 'minP', (name, value) => expectNumber(name, value, { atLeast: 0, atMost: 1 })],
  [
    'repetition_penalty',
    'repetitionPenalty',
    (name, value) => expectNumber(name, value, { above: 0 }),
  ],
];
type Check = (name: string, value: unknown) => void;

/** Keys that say nothing of which tokens come. */
const withoutEffect =
  /^_|^(transformers_version|do_sample|use_cache|cache_implementation|max_length|max_new_tokens|output_\w+|return_\w+)$|_token_id$/;

/** @param generation undefined where there is no such file */
export function generationOf(
  config: Json,
  generation: Json | undefined,
  vocabularySize: number,
): GenerationDefaults {
  const sampling: SamplingDefaults = {};
  for (const [key, name, check] of sampled) {
    const value = generation?.[key] ?? undefined;
    if (value === undefined) continue;
    check(`generation_config.${key}`, value);
    sampling[name] = value as number;
  }
  const sample = generation?.['do_sample'] ?? undefined;
  if (sample !== undefined) expectBoolean('generation_config.do_sample', sample);
  if (sample === false) sampling.temperature = 0;
  const known = sampled.map(([key]) => key);
  const unknown = Object.keys(generation ?? {}).filter(
    (key) =>
      !known.includes(key) &&
      !withoutEffect.test(key) &&
      (generation?.[key] ?? undefined) !== undefined,
  );
  return {
    endTokens: endTokensOf(generation?.['eos_token_id'] ?? config['eos_token_id'], vocabularySize),
    sampling,
    notes: unknown.map((key) => `\`${key}\` of generation_config.json has no effect`),
  };
}

/** One token, or a list. */
function endTokensOf(value: unknown, vocabularySize: number): readonly number[] {
  if (value === undefined || value === null) return [];
  const tokens: readonly unknown[] = Array.isArray(value) ? value : [value];
  for (const token of tokens)
    if (!Number.isInteger(token) || (token as number) < 0 || (token as number) >= vocabularySize)
      throw unexpected('eos_token_id', `tokens from 0 to ${vocabularySize - 1}`, token);
  return tokens as number[];
}
