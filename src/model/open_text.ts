// Tokenizer and chat template of a model, of the files beside its tensors or of their own.
import { ChatTemplate } from '../text/chat_template.js';
import { CheckpointTokenizer } from '../text/tokenizer.js';
import type { LoadedModel } from './load.js';

/** What a model reads and writes text with; in the tokenizer's place, why there is none. */
export interface OpenedText {
  tokenizer: CheckpointTokenizer | Error;
  template: ChatTemplate | undefined;
}

export async function openText({
  folder,
  text,
}: Pick<LoadedModel, 'folder' | 'text'>): Promise<OpenedText> {
  if (text !== undefined && 'error' in text) return { tokenizer: text.error, template: undefined };
  const tokenizer = await (text === undefined
    ? CheckpointTokenizer.open(folder)
    : Promise.resolve(text).then(({ path, files }) => CheckpointTokenizer.of(path, files))
  ).catch((error: Error) => error);
  if (tokenizer instanceof Error) return { tokenizer, template: undefined };
  const template =
    text === undefined ? await ChatTemplate.open(folder, tokenizer) : ChatTemplate.of(tokenizer);
  return { tokenizer, template };
}
