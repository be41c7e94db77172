// Tokenizer and chat template of a model in a GGUF file.
import { inConfig } from '../checkpoint/model_claims.js';
import { tokenizerOfGguf } from '../text/gguf_tokenizer.js';

/** What a file says of text, or why that is not understood: then only token ids can be given. */
export type TextFiles = { path: string } & (
  | { files: ReturnType<typeof tokenizerOfGguf> }
  | { error: Error }
);

export function textOfGguf(path: string, metadata: ReadonlyMap<string, unknown>): TextFiles {
  try {
    return { path, files: inConfig(path, () => tokenizerOfGguf(metadata)) };
  } catch (error) {
    return { path, error: error as Error };
  }
}
