import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** GPT-2's characters of bytes. */
const characters = (() => {
  const all: string[] = [];
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    all.push(String.fromCodePoint(itself ? byte : next++));
  }
  return all;
})();

export const special = [
  '<|im_start|>',
  '<|im_end|>',
  '<|start|>',
  '<|channel|>',
  '<|message|>',
  '<|end|>',
];
/** Added tokens that are text. */
export const plain = ['<think>', '</think>'];

/** A byte-level tokenizer: ids 0 to 255 are bytes, 256 and 257 are "he" and "the", then come the added ones. */
export function byteLevel(): Record<string, unknown> {
  const vocab = Object.fromEntries(characters.map((character, byte) => [character, byte]));
  Object.assign(vocab, { he: 256, the: 257 });
  const added = [...special, ...plain].map((content, index) => ({
    id: 258 + index,
    content,
    special: index < special.length,
    ...{ single_word: false, lstrip: false, rstrip: false, normalized: false },
  }));
  return {
    version: '1.0',
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges: ['h e', 't he'] },
  };
}

/** One like SentencePiece's: pieces with ▁ for a space, and bytes for what is no piece. */
export function pieces(): Record<string, unknown> {
  const vocab: Record<string, number> = { '<unk>': 0, '<s>': 1, '</s>': 2 };
  for (let byte = 0; byte < 256; byte++)
    vocab[`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`] = 3 + byte;
  for (const piece of ['▁', 'a', 'b', '▁a', 'ab', '▁ab']) vocab[piece] = Object.keys(vocab).length;
  return {
    version: '1.0',
    added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, special: true })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      ...{ type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: true, vocab },
      merges: ['▁ a', 'a b', '▁a b'],
    },
  };
}

/** A folder with these files. */
export async function folderWith(files: Record<string, unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'moe-text-'));
  for (const [name, content] of Object.entries(files))
    await writeFile(
      join(folder, name),
      typeof content === 'string' ? content : JSON.stringify(content),
    );
  return folder;
}
