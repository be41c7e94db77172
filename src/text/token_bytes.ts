// The bytes that each token adds to a text, from a tokenizer.json.
import { describe } from '../base/checks.js';
import { CheckpointError } from '../base/errors.js';

const utf8 = new TextEncoder();

/** Models whose tokens are pieces of text. */
const modelTypes: readonly unknown[] = ['BPE', 'Unigram', 'WordLevel'];

interface Json {
  readonly [key: string]: unknown;
}

/** Every token of a tokenizer. */
export interface TokenTable {
  /** What tokens are made by, and of, for people. */
  readonly kind: string;
  /** By id; undefined where there is no such token; empty for special ones. */
  readonly bytes: readonly (Uint8Array | undefined)[];
  /** The literal text of special tokens, by id. */
  readonly special: ReadonlyMap<number, string>;
  /** The literal texts of tokens that may stand between messages: special ones, and what looks like them (DeepSeek's are not). */
  readonly control: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
  /** The first space of a text stands for its beginning, and is taken away. */
  readonly stripsFirstSpace: boolean;
}

/** @throws `CheckpointError` for a file that is no tokenizer, or one whose tokens are no pieces of bytes */
export function tokenTableOf(file: string, tokenizer: Json): TokenTable {
  const vocabulary = vocabularyOf(file, tokenizer);
  const decoder = decoderOf(file, tokenizer);
  const bytes: (Uint8Array | undefined)[] = [];
  const ids = new Map<string, number>();
  for (const [token, id] of vocabulary) {
    bytes[id] = decoder.bytes(token);
    ids.set(token, id);
  }
  const special = new Map<number, string>();
  const control: string[] = [];
  for (const added of (tokenizer['added_tokens'] as Json[] | undefined) ?? []) {
    const { id, content } = added as { id: number; content: string };
    ids.set(content, id);
    if (added['special'] === true) special.set(id, content);
    if (added['special'] === true || /^<[|｜]/.test(content)) control.push(content);
    bytes[id] = added['special'] === true ? new Uint8Array() : utf8.encode(content);
  }
  const { kind: of, stripsFirstSpace } = decoder;
  const by = (tokenizer['model'] as Json)['type'] ?? 'BPE';
  return { kind: `${by} of ${of}`, bytes, special, control, ids, stripsFirstSpace };
}

function vocabularyOf(file: string, tokenizer: Json): Iterable<[string, number]> {
  const model = tokenizer['model'] as Json | undefined;
  // Older files of BPE do not say what they are.
  if (model?.['type'] !== undefined && !modelTypes.includes(model['type']))
    throw new CheckpointError(
      `Expected the tokenizer of ${file} to be ${modelTypes.join(' or ')}, got ${describe(model['type'])}: only \`tokens\` can be given`,
    );
  const vocabulary = model?.['vocab'];
  if (Array.isArray(vocabulary))
    return vocabulary.map((entry, id): [string, number] => [(entry as [string])[0], id]);
  if (typeof vocabulary === 'object' && vocabulary !== null)
    return Object.entries(vocabulary as Record<string, number>);
  throw new CheckpointError(
    `Expected ${file} to be a tokenizer with a model and its \`vocab\`, got none`,
  );
}

interface Decoder {
  readonly kind: 'bytes' | 'pieces of text';
  bytes(token: string): Uint8Array;
  readonly stripsFirstSpace: boolean;
}

function decoderOf(file: string, tokenizer: Json): Decoder {
  const parts = partsOf(tokenizer['decoder']);
  const types = parts.map((part) => part['type'] as string);
  if (types.includes('ByteLevel'))
    return { kind: 'bytes', bytes: bytesOfLevel, stripsFirstSpace: false };
  const spaces = parts.find((part) => part['type'] === 'Metaspace' || part['type'] === 'Replace');
  if (spaces === undefined)
    throw new CheckpointError(
      `Expected the tokenizer of ${file} to have a decoder of bytes (ByteLevel) or of pieces (Metaspace, Replace and ByteFallback), got ${types.join(', ') || 'none'}: only \`tokens\` can be given`,
    );
  const space = spaceOf(spaces);
  const fallsBack = types.includes('ByteFallback');
  return {
    kind: 'pieces of text',
    bytes: (token) => {
      const byte = fallsBack ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1] : undefined;
      return byte === undefined
        ? utf8.encode(token.replaceAll(space, ' '))
        : Uint8Array.of(Number.parseInt(byte, 16));
    },
    stripsFirstSpace:
      spaces['type'] === 'Metaspace'
        ? spaces['add_prefix_space'] !== false && spaces['prepend_scheme'] !== 'never'
        : types.includes('Strip'),
  };
}

function partsOf(decoder: unknown): Json[] {
  if (typeof decoder !== 'object' || decoder === null) return [];
  const { type, decoders } = decoder as { type?: string; decoders?: Json[] };
  return type === 'Sequence' ? (decoders ?? []) : [decoder as Json];
}

function spaceOf(part: Json): string {
  const pattern = (part['pattern'] as Json | undefined)?.['String'];
  return (
    part['replacement'] !== ' ' && typeof part['replacement'] === 'string'
      ? part['replacement']
      : typeof pattern === 'string'
        ? pattern
        : '\u2581'
  ) as string;
}

/** GPT-2's way to write a byte as a character: printable ones are themselves, the others stand from U+0100 on. */
const byteOfCharacter: ReadonlyMap<string, number> = (() => {
  const map = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    map.set(String.fromCodePoint(itself ? byte : next++), byte);
  }
  return map;
})();

function bytesOfLevel(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = byteOfCharacter.get(character);
    if (byte === undefined) return utf8.encode(token); // an added token in the vocabulary
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}
