import { expectObject, unexpected } from '../base/checks.js';
import { boolean, expectKind } from '../base/rows.js';
import type { TextModel } from '../model/types.js';
import { messagesKind, objectKind, textKind, tokensKind, toolsKind } from './field_kinds.js';
import { expectModel, naming } from './read_request.js';
import { templated } from './template.js';

/** Fields of `/tokenize` and `/detokenize`, as vLLM has them. */
const kinds = {
  model: textKind,
  prompt: textKind,
  add_special_tokens: boolean,
  messages: messagesKind,
  tools: toolsKind,
  chat_template_kwargs: objectKind,
  tokens: tokensKind,
};

interface TokenFields {
  model?: string;
  prompt?: string;
  add_special_tokens?: boolean;
  messages?: [];
  tools?: [];
  chat_template_kwargs?: Record<string, unknown>;
  tokens?: number[];
}

function read(body: unknown, served: string): TokenFields {
  naming(undefined, () => expectObject('the body', body));
  const given = body as Record<string, unknown>;
  for (const [name, kind] of Object.entries(kinds))
    if (given[name] === null) delete given[name];
    else if (given[name] !== undefined) naming(name, () => expectKind(name, given[name], kind));
  expectModel((given as TokenFields).model, served);
  return given;
}

/** The token ids of a text, or of a chat as the model's template has it. */
export async function tokenize(model: TextModel, served: string, body: unknown): Promise<object> {
  const { prompt, messages, ...rest } = read(body, served);
  naming('prompt', () => {
    if ((prompt === undefined) === (messages === undefined))
      throw unexpected('prompt', 'given, or `messages` instead', prompt);
  });
  const tokens =
    messages === undefined
      ? await model.tokenizer.encode(prompt as string, {
          specialTokens: rest.add_special_tokens ?? true,
        })
      : await model.tokenizer.encode(
          await model.applyTemplate(
            templated(model, messages, {
              ...(rest.tools !== undefined && { tools: rest.tools }),
              ...(rest.chat_template_kwargs !== undefined && {
                chatTemplateOptions: rest.chat_template_kwargs,
              }),
            }),
          ),
          { specialTokens: rest.add_special_tokens ?? false },
        );
  return { tokens: [...tokens], count: tokens.length, max_model_len: model.contextLength };
}

/** The text of token ids. */
export function detokenize(model: TextModel, served: string, body: unknown): object {
  const { tokens } = read(body, served);
  naming('tokens', () => expectKind('tokens', tokens, tokensKind));
  expectTokens(model, 'tokens', tokens ?? []);
  return { prompt: model.tokenizer.decode(tokens ?? []) };
}

/** Token ids must be some of the model's. */
export function expectTokens(model: TextModel, name: string, tokens: readonly number[]): void {
  const wrong = tokens.find((token) => token >= model.vocabularySize);
  if (wrong === undefined) return;
  naming(name, () => {
    throw unexpected(name, `token ids below ${model.vocabularySize}`, wrong);
  });
}
