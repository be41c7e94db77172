import type { CallHash } from './call_forms.js';
import { type Channels, PlainText, type Vocabulary } from './channel.js';
import { Harmony, isHarmony } from './harmony.js';
import { hasThinkTags, ThinkTags, ThinkText } from './think_tags.js';

/** Where a chat template makes its model write its reasoning; undefined where it has none. */
export const reasoningOf = (template: string): string | undefined =>
  isHarmony(template)
    ? 'in the channel `analysis`'
    : hasThinkTags(template)
      ? 'between <think> and </think>'
      : undefined;

/** The channels of a model's answers, by what its chat template and its tokenizer have. */
export function channelsOf(
  tokenizer: Vocabulary,
  template: string | undefined,
  prompt: ArrayLike<number>,
  hashOf: CallHash,
): Channels {
  const harmony =
    template !== undefined && isHarmony(template)
      ? Harmony.of(tokenizer, prompt, hashOf)
      : undefined;
  if (harmony !== undefined) return harmony;
  if (template === undefined || !hasThinkTags(template)) return new PlainText(tokenizer);
  return ThinkTags.of(tokenizer, prompt) ?? new ThinkText(tokenizer, prompt);
}
