// What GGUF files say of tokenizers, from tokenizers as Hugging Face's models have them.

interface Json {
  readonly [key: string]: unknown;
}

const kinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Metadata of a tokenizer.json; ids without a token are filled up as converters do. */
export function metadataOf(
  tokenizer: Json,
  more: Record<string, unknown> = {},
): Map<string, unknown> {
  const { vocab, merges } = tokenizer['model'] as {
    vocab: Record<string, number>;
    merges: string[];
  };
  const added = tokenizer['added_tokens'] as { id: number; content: string; special: boolean }[];
  const texts: string[] = [];
  const types: number[] = [];
  for (const [text, id] of Object.entries(vocab)) {
    texts[id] = text;
    types[id] = /^<0x..>$/.test(text) ? kinds.byte : kinds.normal;
  }
  for (const { id, content, special } of added) {
    texts[id] = content;
    types[id] = content === '<unk>' ? kinds.unknown : special ? kinds.control : kinds.userDefined;
  }
  for (let id = 0; id < texts.length; id++) {
    texts[id] ??= `[PAD${id}]`;
    types[id] ??= kinds.unused;
  }
  return new Map<string, unknown>([
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.tokens', texts],
    ['tokenizer.ggml.token_type', Int32Array.from(types)],
    ['tokenizer.ggml.merges', merges],
    ...Object.entries(more),
  ]);
}

/** A vocabulary as SentencePiece trains it on a text: bytes, characters, and what stands together most often. */
export function trainedPieces(text: string, size: number): Map<string, unknown> {
  const bytes = Array.from({ length: 256 }, (_, byte) => {
    return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
  });
  const merged: string[] = [];
  let words = text.split(' ').map((word) => ['\u2581', ...word]);
  const characters = [...new Set(words.flat())];
  while (3 + bytes.length + merged.length + characters.length < size) {
    const counts = new Map<string, number>();
    for (const word of words)
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]}${word[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    const [best] = [...counts].sort((one, two) => two[1] - one[1])[0] ?? [];
    if (best === undefined) break;
    merged.push(best);
    words = words.map((word) => {
      const next: string[] = [];
      for (const part of word)
        if (`${next.at(-1) ?? ''}${part}` === best && next.length > 0)
          next.push(`${next.pop()}${part}`);
        else next.push(part);
      return next;
    });
  }
  const unique = [...new Set([...merged, ...characters])];
  const texts = ['<unk>', '<s>', '</s>', ...bytes, ...unique];
  const types = [2, 3, 3, ...bytes.map(() => kinds.byte), ...unique.map(() => kinds.normal)];
  const scores = texts.map((_, id) => Math.min(0, 259 - id));
  return new Map<string, unknown>([
    ['tokenizer.ggml.model', 'llama'],
    ['tokenizer.ggml.tokens', texts],
    ['tokenizer.ggml.token_type', Int32Array.from(types)],
    ['tokenizer.ggml.scores', Float32Array.from(scores)],
  ]);
}

/** SentencePiece's ids of a text without special tokens, as plainly as it can be said. */
export function piecesOf(metadata: ReadonlyMap<string, unknown>, text: string): number[] {
  const texts = metadata.get('tokenizer.ggml.tokens') as string[];
  const scores = metadata.get('tokenizer.ggml.scores') as Float32Array;
  const idOf = (piece: string) => texts.indexOf(piece, 259);
  const parts = [...`\u2581${text.replaceAll(' ', '\u2581')}`];
  for (;;) {
    let best = -1;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (let i = 1; i < parts.length; i++) {
      const id = idOf(`${parts[i - 1]}${parts[i]}`);
      if (id < 0 || (scores[id] as number) <= bestScore) continue;
      best = i;
      bestScore = scores[id] as number;
    }
    if (best < 0) break;
    parts.splice(best - 1, 2, `${parts[best - 1]}${parts[best]}`);
  }
  return parts.flatMap((part) => {
    const id = idOf(part);
    return id >= 0 ? [id] : Array.from(new TextEncoder().encode(part), (byte) => 3 + byte);
  });
}
