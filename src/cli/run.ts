import type { Command } from 'commander';
import { OutputFile } from '../base/output_file.js';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { encodeSafetensors, type TensorToWrite } from '../checkpoint/containers/write.js';
import { checkOtherFields } from '../config/other_fields.js';
import type { ExpertGroup } from '../group/group.js';
import { Recording, type TokenRange } from './activations.js';
import { layerNumbers } from './arguments.js';
import { configOverrides, configured } from './config_overrides.js';
import { LocalWorkers } from './local_workers.js';
import {
  addConfigFlags,
  addLayerFlags,
  type ConfigFlags,
  checkpointArgument,
  configArguments,
  filesRead,
  inputFlag,
  interruptSignal,
  jsonFlag,
  type LayerFlags,
  layerArguments,
  layerOptions,
  print,
  ranksFlag,
  tensorFlag,
  tokenIdsFlag,
  tokensFlag,
} from './options.js';
import { type LayerRun, runLayer } from './run_layer.js';
import { describeRun } from './run_report.js';

interface RunOptions extends LayerFlags, ConfigFlags {
  layer: number[] | 'all';
  input: string;
  tensor?: string;
  tokenIds?: string;
  output?: string;
  routing?: true;
  expect?: string | true;
  tokens?: TokenRange;
  ranks: number;
  json?: true;
}

export function addRun(program: Command): void {
  const command = program
    .command('run')
    .description(
      'runs MoE layers of a checkpoint on recorded activations and shows how the tokens were routed',
    )
    .argument(...checkpointArgument)
    .requiredOption(
      '--layer <numbers>',
      'the layer, several separated by commas, or all',
      layerNumbers,
    )
    .requiredOption(...inputFlag)
    .option(...tensorFlag)
    .option(...tokenIdsFlag)
    .option('--output <file>', 'write the results as layers.{layer}.output')
    .option('--routing', 'write .expert_ids, .expert_weights and .expert_load too')
    .option(
      '--expect [name]',
      'compare with a recorded output in the input file (default: layers.{layer}.output)',
    )
    .option(...tokensFlag);
  addConfigFlags(addLayerFlags(command))
    .option(...ranksFlag)
    .option(...jsonFlag)
    .action(async (path: string, options: RunOptions, command: Command) => {
      if (options.routing && options.output === undefined)
        command.error(
          "error: option '--routing' writes to the file of '--output', which is missing",
        );
      const layers = await run(path, options);
      print(
        options.json,
        { checkpoint: path, input: options.input, layers: layers.map(document) },
        () => describeRun(path, layers, options.output),
      );
    });
}

/** Runs the layers one after another, so that one layer's weights are in memory at a time. */
async function run(path: string, options: RunOptions): Promise<LayerRun[]> {
  const signal = interruptSignal();
  const { options: config, others } = await configOverrides(options.config, options.set);
  const recording = await Recording.open(options.input);
  const checkpoint = await MoECheckpoint.open(path, { stack: options.stack });
  try {
    // Opened before the layers run: what cannot be written is known at once.
    const read = filesRead(options, checkpoint);
    await using file =
      options.output === undefined
        ? undefined
        : await OutputFile.open('--output', options.output, { read });
    const changed = configured(options.set, () => checkpoint.configWith(config));
    const diagnostics = [...changed.diagnostics, ...checkOtherFields(others, changed)];
    const runs: LayerRun[] = [];
    const layers = options.layer === 'all' ? checkpoint.layers : options.layer;
    for (const layer of layers) {
      const runOn = (group?: ExpertGroup) =>
        runLayer(checkpoint, layer, recording, {
          tensor: options.tensor,
          tokenIds: options.tokenIds,
          expected: options.expect,
          tokens: options.tokens ?? { begin: 0, end: undefined },
          diagnostics,
          load: { config, signal, ...layerOptions(options), group },
        });
      runs.push(await onRanks(path, layer, options, runOn));
    }
    await file?.write(encodeSafetensors(tensorsOf(runs, options.routing === true)));
    return runs;
  } finally {
    await checkpoint.close();
  }
}

/** Runs a layer here alone, or as rank 0 of processes that are started for it and end with it. */
async function onRanks(
  path: string,
  layer: number,
  options: RunOptions,
  runOn: (group?: ExpertGroup) => Promise<LayerRun>,
): Promise<LayerRun> {
  const { ranks } = options;
  if (ranks === 1) return runOn();
  await using workers = await LocalWorkers.start(ranks, workerArguments(path, layer, options));
  return await workers.during(runOn);
}

/** What a worker must be told to hold its share of the same layer. */
function workerArguments(path: string, layer: number, options: RunOptions): string[] {
  return [path, '--layer', String(layer), ...layerArguments(options), ...configArguments(options)];
}

function tensorsOf(runs: readonly LayerRun[], routing: boolean): Record<string, TensorToWrite> {
  const tensors: Record<string, TensorToWrite> = {};
  for (const run of runs) {
    const add = (name: string, dtype: string, shape: number[], data: ArrayBufferView) => {
      tensors[`layers.${run.layer}.${name}`] = { dtype, shape, data };
    };
    add('output', 'F32', [run.tokens, run.hiddenSize], run.output);
    if (!routing) continue;
    add('expert_ids', 'I32', [run.tokens, run.numExpertsChosen], run.expertIds);
    add('expert_weights', 'F32', [run.tokens, run.numExpertsChosen], run.expertWeights);
    add('expert_load', 'U32', [run.expertNum], Uint32Array.from(run.expertLoad));
  }
  return tensors;
}

/** A run without its arrays of a value per token: those go to `--output`. */
function document({ output, expertIds, expertWeights, ...rest }: LayerRun): object {
  return rest;
}
