import type { Command } from 'commander';
import type { GenerateOptions } from '../model/types.js';
import { checkpointArgument, interruptSignal, jsonFlag } from './options.js';
import {
  addGenerateFlags,
  addModelFlags,
  generateOptions,
  type ModelFlags,
  Stopwatch,
  withModel,
} from './text_model.js';

type Flags = ModelFlags & GenerateOptions & { prompt: string; json?: true };

export function addGenerate(program: Command): void {
  const command = program
    .command('generate')
    .description('lets a whole model go on with a text, and prints what it writes as it comes')
    .argument(...checkpointArgument)
    .requiredOption('--prompt <text>', 'what to go on with');
  addModelFlags(addGenerateFlags(command))
    .option(...jsonFlag)
    .action(generate);
}

async function generate(path: string, flags: Flags): Promise<void> {
  const signal = interruptSignal();
  await withModel(path, flags, signal, async (model) => {
    const options = { ...generateOptions(flags), signal };
    if (flags.json === true) {
      const { seed, ...done } = await model.complete(options);
      process.stdout.write(`${JSON.stringify({ ...done, seed: String(seed) }, null, 2)}\n`);
      return;
    }
    const watch = new Stopwatch();
    for await (const piece of model.generate(options)) {
      watch.piece();
      process.stdout.write(piece.reasoning + piece.text);
      if (piece.usage === undefined) continue;
      process.stdout.write('\n');
      process.stderr.write(`${watch.line(piece.usage)}; seed ${piece.seed}\n`);
    }
  });
}
