import { type Command, Option } from 'commander';
import { OutputFile } from '../base/output_file.js';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { encodeSafetensors, type TensorToWrite } from '../checkpoint/containers/write.js';
import { checkOtherFields } from '../config/other_fields.js';
import type { ExpertGroup } from '../group/group.js';
import { Recording, type TokenRange } from './activations.js';
import { integers, range } from './arguments.js';
import { configOverrides, configured } from './config_overrides.js';
import { LocalWorkers } from './local_workers.js';
import {
  addConfigFlags,
  addLayerFlags,
  type ConfigFlags,
  configArguments,
  interruptSignal,
  jsonOption,
  type LayerFlags,
  layerArguments,
  layerOptions,
  print,
  ranksOption,
} from './options.js';
import { type LayerRun, runLayer } from './run_layer.js';
import { describeRun } from './run_report.js';

interface RunOptions extends LayerFlags, ConfigFlags {
  layer: number[] | 'all';
  input: string;
  tensor?: string;
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
    .argument('<checkpoint>', 'a folder with config.json, or a .safetensors file')
    .addOption(
      new Option('--layer <numbers>', 'the layer, several separated by commas, or all')
        .argParser((text) => (text === 'all' ? text : integers(0)(text)))
        .makeOptionMandatory(),
    )
    .requiredOption(
      '--input <file>',
      'a .safetensors file with what enters the layers, [tokens, hidden]',
    )
    .option(
      '--tensor <name>',
      'the input; {layer} stands for the number (default: layers.{layer}.input)',
    )
    .option('--output <file>', 'write the results as layers.{layer}.output')
    .option('--routing', 'write .expert_ids, .expert_weights and .expert_load too')
    .option(
      '--expect [name]',
      'compare with a recorded output in the input file (default: layers.{layer}.output)',
    )
    .addOption(
      new Option('--tokens <begin:end>', 'only these tokens of the input').argParser(range),
    );
  addConfigFlags(addLayerFlags(command))
    .addOption(ranksOption())
    .addOption(jsonOption())
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
    await using file = await outputFile(options, checkpoint.files);
    const changed = configured(options.set, () => checkpoint.configWith(config));
    const diagnostics = [...changed.diagnostics, ...checkOtherFields(others, changed)];
    const runs: LayerRun[] = [];
    const layers = options.layer === 'all' ? checkpoint.layers : options.layer;
    for (const layer of layers) {
      const runOn = (group?: ExpertGroup) =>
        runLayer(checkpoint, layer, recording, {
          tensor: options.tensor,
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

/** Opened before the layers run: what cannot be written is known at once. */
async function outputFile(
  { output, input, config }: RunOptions,
  checkpointFiles: readonly string[],
): Promise<OutputFile | undefined> {
  if (output === undefined) return undefined;
  const read = [input, ...(config === undefined ? [] : [config]), ...checkpointFiles];
  return OutputFile.open('--output', output, { read });
}

function tensorsOf(runs: readonly LayerRun[], routing: boolean): Record<string, TensorToWrite> {
  const tensors: Record<string, TensorToWrite> = {};
  for (const {
    layer,
    tokens,
    output,
    expertIds,
    expertWeights,
    expertLoad,
    hiddenSize,
    numExpertsChosen,
  } of runs) {
    const prefix = `layers.${layer}`;
    tensors[`${prefix}.output`] = { dtype: 'F32', shape: [tokens, hiddenSize], data: output };
    if (!routing) continue;
    tensors[`${prefix}.expert_ids`] = {
      dtype: 'I32',
      shape: [tokens, numExpertsChosen],
      data: expertIds,
    };
    tensors[`${prefix}.expert_weights`] = {
      dtype: 'F32',
      shape: [tokens, numExpertsChosen],
      data: expertWeights,
    };
    const load = Uint32Array.from(expertLoad);
    tensors[`${prefix}.expert_load`] = { dtype: 'U32', shape: [load.length], data: load };
  }
  return tensors;
}

/** A run without its arrays of a value per token: those go to `--output`. */
function document({ output, expertIds, expertWeights, ...rest }: LayerRun): object {
  return rest;
}
