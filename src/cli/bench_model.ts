import { type Command, Option } from 'commander';
import type { KvType } from '../binding/model.js';
import { type WeightType, weightTypes } from '../layer/options.js';
import { type HeldModelOptions, heldModelRows, kvTypes } from '../model/options.js';
import { integer, integers, oneOf } from './arguments.js';
import { type KnownModelName, knownModels } from './bench/known_models.js';
import { modelBenchReport } from './bench/model_report.js';
import { UsageError } from './config_overrides.js';
import { addRowFlags, checkpointArgument, jsonFlag, print } from './options.js';

interface Flags extends Omit<HeldModelOptions, 'weightType' | 'kvType'> {
  model?: KnownModelName;
  layers?: number;
  prompt: number[];
  sequences: number[];
  newTokens: number;
  rounds: number;
  weightType?: WeightType[];
  kvType: KvType[];
  json?: true;
}

const { weightType: _, kvType: __, kvTokens: ___, ...heldAlike } = heldModelRows;

export function addBenchModel(program: Command): void {
  const command = program
    .command('bench-model')
    .description(
      'times a whole model, next to the rate at which this machine reads memory: of a checkpoint, or made up',
    )
    .argument('[checkpoint]', checkpointArgument[1])
    .addOption(
      new Option('--model <name>', 'instead: made-up weights of a well-known model').choices(
        Object.keys(knownModels),
      ),
    )
    .option('--layers <n>', 'of --model: only its first layers', integer(1))
    .addOption(list('--prompt <list>', 'tokens of prompts', [16, 512], integers(1)))
    .addOption(list('--sequences <list>', 'sequences at once', [1, 16], integers(1)))
    .option('--new-tokens <n>', 'tokens that each sequence generates', integer(2), 32)
    .option('--rounds <n>', 'of which the median counts', integer(1), 3)
    .addOption(
      new Option(
        '--weight-type <list>',
        `${weightTypes.join(', ')}, separated by commas (default: as it is stored, bfloat16 with --model)`,
      ).argParser(oneOf(weightTypes)),
    )
    .addOption(list('--kv-type <list>', kvTypes.join(', '), ['bfloat16'], oneOf(kvTypes)));
  addRowFlags(command, heldAlike)
    .option(...jsonFlag)
    .action(async (checkpoint: string | undefined, flags: Flags) => {
      if ((checkpoint === undefined) === (flags.model === undefined))
        throw new UsageError('Expected a checkpoint, or `--model` with the name of a model');
      if (checkpoint !== undefined && flags.layers !== undefined)
        throw new UsageError('Expected no `--layers` with a checkpoint: they are of `--model`');
      const { runModelBench } = await import('./bench/run_model_bench.js');
      const result = await runModelBench({ ...flags, checkpoint });
      print(flags.json, result, () => modelBenchReport(result));
    });
}

function list<Value>(
  flags: string,
  description: string,
  byDefault: Value[],
  parse: (text: string) => Value[],
): Option {
  return new Option(flags, `${description}, separated by commas`)
    .argParser(parse)
    .default(byDefault, byDefault.join(','));
}
