import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../base/errors.js';
import type { TokenizerFiles } from './gguf_tokenizer.js';
import { TextWorker } from './text_worker.js';
import { type TokenTable, tokenTableOf } from './token_bytes.js';
import type { TextTokenizer } from './types.js';

/** The tokenizer of a checkpoint, from its `tokenizer.json` or from what would stand there. Encoding runs in a thread of its own. */
export class CheckpointTokenizer implements TextTokenizer {
  /** The parsed `tokenizer_config.json`; empty where there is none. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly worker: TextWorker;
  readonly #table: TokenTable;

  private constructor(
    worker: TextWorker,
    table: TokenTable,
    config: Readonly<Record<string, unknown>>,
  ) {
    this.worker = worker;
    this.#table = table;
    this.config = config;
  }

  /**
   * Opens the tokenizer in a folder.
   *
   * @throws `CheckpointError` where there is none, or one that is not understood
   */
  static async open(folder: string): Promise<CheckpointTokenizer> {
    const file = join(folder, 'tokenizer.json');
    const configFile = join(folder, 'tokenizer_config.json');
    const tokenizer = await readJson(file);
    if (tokenizer === undefined)
      throw new CheckpointError(
        `Expected ${folder} to hold tokenizer.json, got none: write one with AutoTokenizer.from_pretrained(...).save_pretrained(...) of Python's transformers; without one only \`tokens\` can be given`,
      );
    const config = await readJson(configFile);
    const table = tokenTableOf(file, tokenizer);
    const worker = new TextWorker({ name: file, tokenizer: file, config: config && configFile });
    return new CheckpointTokenizer(worker, table, config ?? {});
  }

  /**
   * What stands elsewhere than in files of its own.
   *
   * @param name of where it comes from, for messages
   */
  static of(
    name: string,
    { tokenizerJson, tokenizerConfig }: Omit<TokenizerFiles, 'generationConfig'>,
  ): CheckpointTokenizer {
    const table = tokenTableOf(name, tokenizerJson);
    const worker = new TextWorker({ name, tokenizer: tokenizerJson, config: tokenizerConfig });
    return new CheckpointTokenizer(worker, table, tokenizerConfig);
  }

  get stripsFirstSpace(): boolean {
    return this.#table.stripsFirstSpace;
  }

  /** What its tokens are made by, and of, for people. */
  get kind(): string {
    return this.#table.kind;
  }

  get size(): number {
    return this.#table.bytes.length;
  }

  async encode(
    text: string,
    {
      specialTokens = true,
      signal,
    }: { specialTokens?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<Int32Array> {
    return this.worker.encode([text], specialTokens, { signal });
  }

  bytes(token: number): Uint8Array {
    return this.#table.bytes[token] ?? new Uint8Array();
  }

  special(token: number): string | undefined {
    return this.#table.special.get(token);
  }

  /** The literal texts of special tokens. */
  get specialTexts(): readonly string[] {
    return [...this.#table.special.values()];
  }

  /** The literal texts of tokens that may stand between the messages of a chat. */
  get controlTexts(): readonly string[] {
    return this.#table.control;
  }

  id(token: string): number | undefined {
    return this.#table.ids.get(token);
  }

  decode(
    tokens: ArrayLike<number>,
    { skipSpecial = true }: { skipSpecial?: boolean } = {},
  ): string {
    const parts = Array.from(tokens, (token) => {
      const special = this.special(token);
      return special !== undefined && !skipSpecial
        ? new TextEncoder().encode(special)
        : this.bytes(token);
    });
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(parts));
    return this.#table.stripsFirstSpace && text.startsWith(' ') ? text.slice(1) : text;
  }

  /** Ends its thread. */
  close(): Promise<void> {
    return this.worker.close();
  }
}

async function readJson(file: string): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new CheckpointError(`Expected ${file} to be readable: ${(error as Error).message}`, {
      cause: error,
    });
  }
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed))
      return parsed as Record<string, unknown>;
  } catch (error) {
    throw new CheckpointError(`Expected ${file} to be JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  throw new CheckpointError(`Expected ${file} to hold an object`);
}
