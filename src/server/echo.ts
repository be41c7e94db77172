// What stands before the answers of completions.
import type { TextModel, TokenLogprob } from '../model/types.js';
import type { Wanted } from './wanted.js';

/** A token of a prompt. */
export interface PromptToken extends Pick<TokenLogprob, 'token' | 'text'> {
  /** Null of the first, before which nothing stands. */
  logprob: number | null;
  /** What it adds to the text: special tokens add nothing. */
  shown: string;
}

/** The prompt of an answer, where it is repeated. */
export interface Echo {
  readonly text: string;
  /** Where they were asked for. */
  readonly logprobs?: readonly PromptToken[];
}

const nothing: Echo = { text: '' };

/** What stands before each answer, all answers to the first prompt first. The signal ends the scoring of prompts. */
export async function echoesOf(
  model: TextModel,
  { prompts, echo, n, options }: Wanted,
  signal: AbortSignal,
): Promise<readonly Echo[]> {
  const each = prompts.map(async (prompt): Promise<Echo> => {
    if (!echo) return nothing;
    const text = typeof prompt === 'string' ? prompt : model.tokenizer.decode(prompt);
    return options.logprobs === undefined
      ? { text }
      : { text, logprobs: await promptTokens(model, prompt, signal) };
  });
  return (await Promise.all(each)).flatMap((one) => Array.from({ length: n }, () => one));
}

async function promptTokens(
  model: TextModel,
  prompt: string | number[],
  signal: AbortSignal,
): Promise<PromptToken[]> {
  const { tokenizer } = model;
  const tokens = typeof prompt === 'string' ? await tokenizer.encode(prompt, { signal }) : prompt;
  const logprobs = tokens.length > 1 ? await model.logprobs(tokens, { signal }) : [];
  let strips = tokenizer.stripsFirstSpace === true;
  return Array.from(tokens, (token, place): PromptToken => {
    const logprob = place === 0 ? null : (logprobs[place - 1] as number);
    const special = tokenizer.special(token);
    if (special !== undefined) return { token, text: special, logprob, shown: '' };
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(tokenizer.bytes(token));
    const shown = strips ? text.replace(/^ /, '') : text;
    strips = false;
    return { token, text: shown, logprob, shown };
  });
}
