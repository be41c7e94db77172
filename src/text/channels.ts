import { type Channels, PlainText, type Vocabulary } from './channel.js';
import { Harmony, isHarmony } from './harmony.js';
import { hasThinkTags, ThinkTags, ThinkText } from './think_tags.js';

/** The channels of a model's answers, by what its chat template and its tokenizer have. */
export function channelsOf(
  tokenizer: Vocabulary,
  template: string | undefined,
  prompt: ArrayLike<number>,
): Channels {
  const harmony =
    template !== undefined && isHarmony(template) ? Harmony.of(tokenizer, prompt) : undefined;
  if (harmony !== undefined) return harmony;
  if (template === undefined || !hasThinkTags(template)) return new PlainText(tokenizer);
  return ThinkTags.of(tokenizer, prompt) ?? new ThinkText(tokenizer, prompt);
}
