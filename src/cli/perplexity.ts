import type { Command } from 'commander';
import { checkpointArgument, interruptSignal, jsonFlag, print } from './options.js';
import { ProgressLine } from './progress.js';
import { significant } from './text.js';
import {
  addModelFlags,
  addPiecesFlags,
  type ModelFlags,
  type PiecesFlags,
  piecesOf,
  textOf,
  withModel,
} from './text_model.js';

type Flags = ModelFlags & PiecesFlags & { json?: true };

export function addPerplexity(program: Command): void {
  const command = program
    .command('perplexity')
    .description('how well a whole model foretells a text: what holding it in fewer bits costs')
    .argument(...checkpointArgument);
  addModelFlags(addPiecesFlags(command))
    .option(...jsonFlag)
    .action(perplexity);
}

async function perplexity(path: string, flags: Flags): Promise<void> {
  const signal = interruptSignal();
  const text = await textOf(flags);
  await withModel(path, flags, signal, async (model) => {
    const { tokenizer } = model;
    const pieces = await piecesOf(model, text, flags, signal);
    const total = pieces.reduce((sum, { length }) => sum + length, 0);
    const progress = new ProgressLine('reading');
    let [sum, count, bytes, done] = [0, 0, 0, 0];
    for (const piece of pieces) {
      // The first token of a piece has nothing before it and is not counted.
      for (const logprob of await model.logprobs(piece, { signal })) sum -= logprob;
      count += piece.length - 1;
      for (const token of piece.subarray(1)) bytes += tokenizer.bytes(token).length;
      done += piece.length;
      progress.update(done, total);
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
        `${count} tokens, ${bytes} bytes, in pieces of ${pieces[0]?.length} tokens`,
        `bits per byte ${significant(result.bitsPerByte)}`,
        `perplexity ${significant(result.perplexity)}`,
      ].join('\n'),
    );
  });
}
