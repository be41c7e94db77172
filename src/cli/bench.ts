import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import type { FieldName } from '../config/fields.js';
import { parseFields } from '../config/parse.js';
import { type WeightFormat, weightFormatNames } from '../layer/options.js';
import { integer, integers, notNegative, oneOf, positive } from './arguments.js';
import { benchReport } from './bench/report.js';
import type { BenchSettings } from './bench/run_bench.js';
import { type ShapeName, shapeNames, shapes } from './bench/shapes.js';
import { syntheticConfig } from './bench/synthetic_config.js';
import { configured, UsageError } from './config_overrides.js';
import {
  addLayerFlags,
  jsonFlag,
  type LayerFlags,
  layerOptions,
  print,
  ranksFlag,
  setFlag,
} from './options.js';

export interface BenchOptions extends Omit<LayerFlags, 'weightType'> {
  shape: ShapeName;
  hidden?: number;
  intermediate?: number;
  experts?: number;
  topK?: number;
  tokens: number[];
  weightType: WeightFormat[];
  ranks: number;
  set?: Record<string, unknown>;
  seconds: number;
  eventLoop: number;
  json?: true;
}

export function addBench(program: Command): void {
  const command = program
    .command('bench')
    .description("times one layer with made-up weights, next to this machine's own limits");
  addBenchOptions(command).action(async (options: BenchOptions) => {
    const { runBench } = await import('./bench/run_bench.js'); // makes a million values when loaded
    const result = await runBench(benchSettings(options, command));
    print(options.json, result, () => benchReport(result));
  });
}

/** What a layer that is timed can be. */
export function addBenchOptions(command: Command): Command {
  command
    .addOption(
      new Option('--shape <name>', "a published model's layer")
        .choices(shapeNames)
        .default('bench-small'),
    )
    .option('--hidden <n>', 'hidden size, instead of the one of the shape', integer(1))
    .option('--intermediate <n>', 'intermediate size', integer(1))
    .option('--experts <n>', 'experts', integer(1))
    .option('--top-k <n>', 'experts per token', integer(1))
    .addOption(
      list('--tokens <list>', 'batch sizes')
        .argParser(integers(1))
        .default([1, 8, 32, 128, 512], '1,8,32,128,512'),
    )
    .addOption(
      list('--weight-type <list>', `${weightFormatNames.join(', ')}`)
        .argParser(oneOf(weightFormatNames))
        .default(['float32'], 'float32'),
    );
  return addLayerFlags(command, { without: ['weightType', 'unevenExperts'] })
    .option(...ranksFlag)
    .option(...setFlag)
    .option('--seconds <n>', 'time for each batch size', positive, 1)
    .option(
      '--event-loop <seconds>',
      'length of the forward that the event loop is watched during; 0: none',
      notNegative,
      2,
    )
    .option(...jsonFlag);
}

export function benchSettings(options: BenchOptions, command: Command): BenchSettings {
  const named = shapes[options.shape];
  const shape = {
    hiddenSize: options.hidden ?? named.hiddenSize,
    intermediateSize: options.intermediate ?? named.intermediateSize,
    expertNum: options.experts ?? named.expertNum,
    numExpertsChosen: options.topK ?? named.numExpertsChosen,
  };
  if (shape.numExpertsChosen > shape.expertNum)
    command.error(
      `error: option '--top-k' is ${shape.numExpertsChosen}, more than the ${shape.expertNum} experts`,
    );
  const { options: config } = parseFields(options.set ?? {});
  expectSameResult(config);
  configured(options.set, () => syntheticConfig(shape, config));
  return {
    shape,
    tokens: options.tokens,
    weightTypes: options.weightType,
    ...layerOptions({ ...options, weightType: undefined }),
    device: options.device,
    threads: options.threads ?? Math.max(1, Math.floor(availableParallelism() / options.ranks)),
    ranks: options.ranks,
    config,
    seconds: options.seconds,
    eventLoopSeconds: options.eventLoop,
  };
}

/** Options with which a layer has the sizes and gives the result that `bench` compares it with. */
const sameResult: ReadonlySet<string> = new Set<FieldName>([
  ...(['compCommParallel', 'compCommParallelDegree', 'groupWiseA2a', 'expertGroupSize'] as const),
  ...(['auxLossFactor', 'auxLossTypes', 'auxLossFactors', 'zLossFactor'] as const),
]);

function expectSameResult(config: object): void {
  const other = Object.keys(config).find((name) => !sameResult.has(name));
  if (other !== undefined)
    throw new UsageError(
      `Expected \`--set\` to leave sizes and results as they are (${[...sameResult].join(', ')}), got \`${other}\`: ` +
        'sizes are `--hidden`, `--intermediate`, `--experts` and `--top-k`',
    );
}

function list(flags: string, description: string): Option {
  return new Option(flags, `${description}, separated by commas`);
}
