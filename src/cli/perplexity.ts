import type { Command } from 'commander';
import { ConfigError } from '../base/errors.js';
import { integer } from './arguments.js';
import { namedFile } from './files.js';
import { checkpointArgument, interruptSignal, jsonFlag, print } from './options.js';
import { ProgressLine } from './progress.js';
import { significant } from './text.js';
import { addModelFlags, type ModelFlags, withModel } from './text_model.js';

type Flags = ModelFlags & { text: string; window?: number; json?: true };

export function addPerplexity(program: Command): void {
  const command = program
    .command('perplexity')
    .description('how well a whole model foretells a text: what holding it in fewer bits costs')
    .argument(...checkpointArgument)
    .requiredOption('--text <file>', 'the text')
    .option(
      '--window <n>',
      'tokens of a piece, each read alone (default: the context)',
      integer(2),
    );
  addModelFlags(command)
    .option(...jsonFlag)
    .action(perplexity);
}

async function perplexity(path: string, flags: Flags): Promise<void> {
  const text = await namedFile('--text', flags.text);
  const signal = interruptSignal();
  await withModel(path, flags, signal, async (model) => {
    const { tokenizer } = model;
    const tokens = await tokenizer.encode(text, { signal });
    const window = Math.min(flags.window ?? model.contextLength, model.contextLength);
    if (tokens.length < 2)
      throw new ConfigError(
        `Expected ${flags.text} to hold at least two tokens, got ${tokens.length}`,
      );
    const progress = new ProgressLine('reading');
    let [sum, count, bytes] = [0, 0, 0];
    for (let begin = 0; begin + 1 < tokens.length; begin += window) {
      const piece = tokens.subarray(begin, begin + window);
      // The first token of a piece has nothing before it and is not counted.
      for (const logprob of await model.logprobs(piece, { signal })) sum -= logprob;
      count += piece.length - 1;
      for (const token of piece.subarray(1)) bytes += tokenizer.bytes(token).length;
      progress.update(begin + piece.length, tokens.length);
    }
    progress.end();
    const result = {
      tokens: count,
      bytes,
      bitsPerByte: sum / Math.LN2 / bytes,
      perplexity: Math.exp(sum / count),
    };
    print(flags.json, result, () =>
      [
        `${count} tokens, ${bytes} bytes, in pieces of ${window} tokens`,
        `bits per byte ${significant(result.bitsPerByte)}`,
        `perplexity ${significant(result.perplexity)}`,
      ].join('\n'),
    );
  });
}
