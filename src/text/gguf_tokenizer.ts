// The tokenizer and the chat templates in a GGUF file's metadata, in the form of the files that models of Hugging Face have.
import { unexpected } from '../base/checks.js';
import {
  flagIn,
  type GgufMetadata,
  GgufTokens,
  keyOf,
  textIn,
  tokenKind,
} from './gguf_metadata.js';
import { kindOf } from './gguf_models.js';

type Json = Readonly<Record<string, unknown>>;

/** What the files beside a model's weights say of its text. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizerJson: Json;
  /** tokenizer_config.json, with the chat templates. */
  readonly tokenizerConfig: Json;
  /** generation_config.json: the tokens that end a text. */
  readonly generationConfig: { readonly eos_token_id: readonly number[] };
}

/**
 * What a GGUF file's metadata says of its model's text.
 *
 * @throws `ConfigError` that names the key that is missing, not known or not what it should be
 */
export function tokenizerOfGguf(metadata: GgufMetadata): TokenizerFiles {
  const kind = kindOf(metadata);
  const tokens = new GgufTokens(metadata, kind.roles);
  const { parts, beginsTexts } = kind.of(metadata, tokens);
  const begins = flagIn(metadata, keyOf('add_bos_token'), beginsTexts);
  const ends = flagIn(metadata, keyOf('add_eos_token'), false);
  return {
    tokenizerJson: {
      ...{ version: '1.0', truncation: null, padding: null },
      added_tokens: addedOf(tokens),
      ...parts,
      post_processor: aroundTexts(
        begins ? addedTo(tokens, 'bos') : [],
        ends ? addedTo(tokens, 'eos') : [],
      ),
    },
    tokenizerConfig: {
      ...{ bos_token: tokens.text('bos'), eos_token: tokens.text('eos') },
      ...{ unk_token: tokens.text('unknown'), pad_token: tokens.text('padding') },
      ...{ add_bos_token: begins, add_eos_token: ends, clean_up_tokenization_spaces: false },
      chat_template: templatesOf(metadata),
    },
    generationConfig: { eos_token_id: endTokensOf(tokens) },
  };
}

/** Tokens that are looked for in a text before anything else. */
function addedOf(tokens: GgufTokens): readonly Json[] {
  const { unknown, control, userDefined } = tokenKind;
  const added: readonly number[] = [unknown, control, userDefined];
  return [...tokens.ids]
    .filter(([, id]) => added.includes(tokens.kind(id)))
    .map(([content, id]) => ({
      ...{ id, content, special: tokens.kind(id) !== userDefined },
      ...{ single_word: false, lstrip: false, rstrip: false, normalized: false },
    }));
}

interface Added {
  readonly id: number;
  readonly text: string;
}

/** What stands before or behind every text. */
function addedTo(tokens: GgufTokens, role: 'bos' | 'eos'): readonly Added[] {
  const [id, text] = [tokens.id(role), tokens.text(role)];
  if (id === undefined || text === undefined)
    throw unexpected(keyOf(`${role}_token_id`), 'the token that is added to texts', id);
  return [{ id, text }];
}

function aroundTexts(before: readonly Added[], behind: readonly Added[]): Json | null {
  const added = [...before, ...behind];
  if (added.length === 0) return null;
  const piece = ({ text }: Added) => ({ SpecialToken: { id: text, type_id: 0 } });
  const around = (...texts: readonly string[]) => [
    ...before.map(piece),
    ...texts.map((id, type_id) => ({ Sequence: { id, type_id } })),
    ...behind.map(piece),
  ];
  return {
    type: 'TemplateProcessing',
    single: around('A'),
    pair: around('A', 'B'),
    special_tokens: Object.fromEntries(
      added.map(({ id, text }) => [text, { id: text, ids: [id], tokens: [text] }]),
    ),
  };
}

/** One template, or several with names. */
function templatesOf(metadata: GgufMetadata): string | readonly Json[] | undefined {
  const key = 'tokenizer.chat_template';
  const template = textIn(metadata, key);
  const named = [...metadata.keys()]
    .filter((each) => each.startsWith(`${key}.`))
    .map((each) => ({ name: each.slice(key.length + 1), template: textIn(metadata, each) }));
  if (named.length === 0) return template;
  return template === undefined ? named : [{ name: 'default', template }, ...named];
}

/** Texts of tokens that end an answer, though not every file says so. */
const endTexts: readonly string[] = [
  ...['<|eot_id|>', '<|eom_id|>', '<|im_end|>', '<|end|>', '<|return|>', '<|call|>'],
  ...['<|endoftext|>', '<|end_of_text|>', '<end_of_turn>', '<｜end▁of▁sentence｜>'],
  ...['[EOT]', '[EOS]'],
];

function endTokensOf(tokens: GgufTokens): readonly number[] {
  const isControl = (id: number) => tokens.kind(id) === tokenKind.control;
  const known = endTexts.map((text) => tokens.ids.get(text));
  const all = new Set([
    ...(['eos', 'eot', 'eom'] as const).map((role) => tokens.id(role)),
    ...known.filter((id) => id !== undefined && isControl(id)),
  ]);
  // In gpt-oss `<|end|>` ends one of several messages of an answer.
  if (['<|return|>', '<|call|>'].every((text) => tokens.ids.has(text)))
    all.delete(tokens.ids.get('<|end|>'));
  return [...all].filter((id) => id !== undefined);
}
