// What commands that run a whole model have in common.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ConfigError } from '../base/errors.js';
import { expectKind, given } from '../base/rows.js';
import type { TensorFiles } from '../checkpoint/containers/tensor_files.js';
import { generateRows } from '../model/generate_options.js';
import type { MoEModel } from '../model/model.js';
import { type HeldModelOptions, heldModelRows } from '../model/options.js';
import type { GenerateOptions, Usage } from '../model/types.js';
import { integer } from './arguments.js';
import { namedFile } from './files.js';
import { addRowFlags } from './options.js';
import { ProgressLine } from './progress.js';
import { significant } from './text.js';

export type ModelFlags = HeldModelOptions;

export const addModelFlags = (command: Command): Command => addRowFlags(command, heldModelRows);

export function addGenerateFlags(command: Command): Command {
  return addRowFlags(command, generateRows)
    .addOption(
      new Option('--seed <n>', 'of the random numbers (default: a new one)').argParser((text) => {
        if (!/^\d+$/.test(text))
          throw new InvalidArgumentError(
            `Expected an integer from 0 to 2^64 - 1, got \`${text}\`.`,
          );
        try {
          expectKind('seed', BigInt(text), generateRows.seed.kind);
          return BigInt(text);
        } catch (error) {
          throw new InvalidArgumentError((error as Error).message);
        }
      }),
    )
    .addOption(
      new Option('--stop <text>', 'the text ends before it; repeatable').argParser(
        (text: string, before: string[] = []) => [...before, text],
      ),
    );
}

export const generateOptions = (flags: object): GenerateOptions =>
  given(generateRows, flags as GenerateOptions) as GenerateOptions;

/** A text that is read in pieces. */
export interface PiecesFlags {
  text: string;
  window?: number;
}

export const addPiecesFlags = (command: Command): Command =>
  command
    .requiredOption('--text <file>', 'the text')
    .option(
      '--window <n>',
      'tokens of a piece, each read alone (default: the context)',
      integer(2),
    );

/** What stands in the file that `--text` names. */
export const textOf = ({ text }: PiecesFlags): Promise<string> => namedFile('--text', text);

/** The tokens of `said`, which the file holds, piece by piece: at least two of each. */
export async function piecesOf(
  { tokenizer, contextLength }: MoEModel,
  said: string,
  { text: path, window = contextLength }: PiecesFlags,
  signal: AbortSignal,
  most = Infinity,
): Promise<Int32Array[]> {
  const tokens = await tokenizer.encode(said, { signal });
  if (tokens.length < 2)
    throw new ConfigError(`Expected ${path} to hold at least two tokens, got ${tokens.length}`);
  const pieces: Int32Array[] = [];
  const [step, count] = [Math.min(window, contextLength), Math.min(tokens.length, most)];
  for (let begin = 0; begin + 1 < count; begin += step)
    pieces.push(tokens.slice(begin, Math.min(begin + step, count)));
  return pieces;
}

/**
 * Loads the model of a command, with a line of progress, and closes it behind `use`.
 *
 * @param files of the checkpoint, where they are open
 */
export async function withModel(
  path: string,
  flags: ModelFlags,
  signal: AbortSignal,
  use: (model: MoEModel) => Promise<void>,
  files?: TensorFiles,
): Promise<void> {
  // Commands of layers load none of it.
  const { MoEModel } = await import('../model/model.js');
  const progress = new ProgressLine('loading');
  const options = { ...given(heldModelRows, flags), onProgress: progress.update, signal };
  const loading = MoEModel.of(path, options, files);
  const model = await loading.finally(() => progress.end());
  try {
    await use(model);
  } finally {
    await model.close();
  }
}

/** Times an answer: how long its first piece took, and the rest. */
export class Stopwatch {
  readonly #begin = performance.now();
  #first: number | undefined;

  piece(): void {
    this.#first ??= performance.now();
  }

  /** A line about it. */
  line({ promptTokens, cachedTokens, completionTokens }: Usage): string {
    const first = this.#first ?? performance.now();
    const prompt = (first - this.#begin) / 1000;
    const rest = (performance.now() - first) / 1000;
    const rate = (tokens: number, seconds: number) =>
      `${significant(tokens / Math.max(seconds, 1e-6))} tokens/s`;
    const cached = cachedTokens > 0 ? `, ${cachedTokens} of them known` : '';
    return [
      `prompt of ${promptTokens} tokens${cached}: ${significant(prompt * 1000)} ms`,
      `${completionTokens} tokens${completionTokens > 1 ? ` at ${rate(completionTokens - 1, rest)}` : ''}`,
    ].join('; ');
  }
}
