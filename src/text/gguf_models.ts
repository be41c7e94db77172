// The two kinds of tokenizers that GGUF files of these models have.
import { unexpected } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import {
  flagIn,
  type GgufMetadata,
  type GgufTokens,
  keyOf,
  type TokenRoles,
  textIn,
  tokenKind,
} from './gguf_metadata.js';
import { preTokenizers } from './gguf_pre_tokenizers.js';
import { mergesByScore } from './merges_by_score.js';

/** What a kind has of its own. */
export interface TokenizerModel {
  /** Of tokenizer.json. */
  readonly parts: {
    readonly normalizer: object | null;
    readonly pre_tokenizer: object | null;
    readonly decoder: object;
    readonly model: object;
  };
  /** Whether texts begin with the token for it where the file does not say. */
  readonly beginsTexts: boolean;
}

/** How to make one, and the tokens that play a part where the file does not say. */
interface Kind {
  of(metadata: GgufMetadata, tokens: GgufTokens): TokenizerModel;
  readonly roles: TokenRoles;
}

/** By `tokenizer.ggml.model`. @throws `ConfigError` for another */
export function kindOf(metadata: GgufMetadata): Kind {
  const kind = kinds.get(textIn(metadata, keyOf('model')) ?? '');
  if (kind === undefined)
    throw notKnown(metadata, 'model', "'gpt2' (BPE of bytes) or 'llama' (SentencePiece)");
  return kind;
}

function notKnown(metadata: GgufMetadata, name: string, expectation: string): ConfigError {
  const { message } = unexpected(keyOf(name), expectation, metadata.get(keyOf(name)));
  return new ConfigError(`${message}: give the model's own tokenizer.json instead`);
}

/** BPE of bytes. */
function byteLevel(metadata: GgufMetadata, tokens: GgufTokens): TokenizerModel {
  const how = preTokenizers.get(textIn(metadata, keyOf('pre')) ?? '');
  if (how === undefined)
    throw notKnown(metadata, 'pre', 'a way to cut texts into words that is known here');
  const { splits, composes, takesWords = false, beginsTexts = false } = how;
  const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
  return {
    beginsTexts,
    parts: {
      normalizer: composes ? { type: 'NFC' } : null,
      pre_tokenizer: { type: 'Sequence', pretokenizers: [...splits.map(splitOf), bytes] },
      decoder: bytes,
      model: { ...bpe, vocab: vocabOf(tokens), merges: tokens.merges(), ignore_merges: takesWords },
    },
  };
}

const splitOf = (Regex: string) => ({
  ...{ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
});

const space = '\u2581';
const toSpace = { type: 'Replace', pattern: { String: space }, content: ' ' };
const fromSpace = { type: 'Replace', pattern: { String: ' ' }, content: space };

/** SentencePiece's BPE of characters, with bytes for those that are no tokens. */
function sentencePiece(metadata: GgufMetadata, tokens: GgufTokens): TokenizerModel {
  const scores = tokens.numbers('scores');
  const never: readonly number[] = [tokenKind.unknown, tokenKind.control, tokenKind.byte];
  const merged = [...tokens.ids].filter(([, id]) => !never.includes(tokens.kind(id)));
  const merges = mergesByScore(new Map(merged.map(([text, id]) => [text, scores[id] as number])));
  const prefixed = flagIn(metadata, keyOf('add_space_prefix'), true);
  const decoders = [toSpace, { type: 'ByteFallback' }, { type: 'Fuse' }];
  return {
    beginsTexts: true,
    parts: {
      normalizer: prefixed
        ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: space }, fromSpace] }
        : fromSpace,
      pre_tokenizer: null,
      decoder: {
        type: 'Sequence',
        decoders: prefixed
          ? [...decoders, { type: 'Strip', content: ' ', start: 1, stop: 0 }]
          : decoders,
      },
      model: {
        ...bpe,
        unk_token: tokens.text('unknown'),
        fuse_unk: true,
        byte_fallback: true,
        vocab: vocabOf(tokens),
        merges,
      },
    },
  };
}

const bpe = {
  ...{ type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false },
  ...{ continuing_subword_prefix: null, end_of_word_suffix: null },
};

/** A text may be called `__proto__`: an assignment would lose it. */
const vocabOf = (tokens: GgufTokens): object => Object.fromEntries(tokens.ids);

const kinds: ReadonlyMap<string, Kind> = new Map([
  ['gpt2', { of: byteLevel, roles: {} }],
  ['llama', { of: sentencePiece, roles: { unknown: 0, bos: 1, eos: 2 } }],
]);
