// Times whole models against llama.cpp: npm run bench:models -- --models qwen3-30b-a3b --weight-type int4
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { integer, oneOf, positive } from '../dist/cli/arguments.js';
import { interruptSignal, jsonFlag, print } from '../dist/cli/options.js';
import { caseNames } from './models/cases.mjs';
import { compareModels, ggufTypeOf } from './models/compare.mjs';
import { modelsReport } from './models/report.mjs';
import { modelNames } from './models/shapes.mjs';

const list = (flag, help, names, byDefault = names) =>
  new Option(`${flag} <list>`, `${help}: ${names.join(', ')}`)
    .argParser(oneOf(names))
    .default(byDefault, byDefault.join());

const folder = fileURLToPath(new URL('../build/models', import.meta.url));

const command = new Command('bench:models')
  .description(
    'times whole models with made-up weights, next to llama.cpp as node-llama-cpp runs it',
  )
  .addOption(list('--models', 'whose widths they have', modelNames))
  .addOption(
    list('--weight-type', 'how weights are held', Object.keys(ggufTypeOf), [
      'bfloat16',
      'int8',
      'int4',
    ]),
  )
  .addOption(list('--cases', 'what is timed', caseNames))
  .option('--layers <n>', 'layers of each model', integer(1), 4)
  .option('--threads <n>', 'threads', integer(1), availableParallelism())
  .option('--seconds <n>', 'time for each case and contestant', positive, 1.5)
  .addOption(
    new Option(
      '--activation-type <type>',
      'how rows meet integer weights; llama.cpp makes them int8',
    )
      .choices(['float', 'int8'])
      .default('int8'),
  )
  .option('--folder <path>', 'where checkpoints are written, and found again', folder)
  .option('--no-peers', 'ours alone')
  .option(...jsonFlag)
  .action(async ({ json, weightType: weightTypes, ...options }) => {
    const result = await compareModels({ ...options, weightTypes }, interruptSignal());
    print(json, result, () => modelsReport(result));
  });
await command.parseAsync().catch((error) => {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
});
