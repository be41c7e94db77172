import { type Command, InvalidArgumentError, Option } from 'commander';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { ExpertGroup } from '../group/group.js';
import { resolveGroupOptions } from '../group/options.js';
import type { MoELayer } from '../layer/layer.js';
import { integer, layerNumbers } from './arguments.js';
import { configOverrides, configured } from './config_overrides.js';
import {
  addConfigFlags,
  addLayerFlags,
  type ConfigFlags,
  checkpointArgument,
  type LayerFlags,
  layerOptions,
} from './options.js';

interface WorkerOptions extends LayerFlags, ConfigFlags {
  rank: number;
  size: number;
  store: string;
  layer: number[] | 'all';
  timeout: number;
  address?: string;
  synthetic?: string;
}

export function addWorker(program: Command): void {
  const command = program
    .command('worker')
    .description(
      'holds its share of the experts of a checkpoint’s layers and serves them to rank 0, a program that joined the group ' +
        'with `workers: true`, until that leaves',
    )
    .argument('[checkpoint]', checkpointArgument[1])
    .requiredOption('--rank <r>', 'this rank, from 1', integer(1))
    .requiredOption('--size <n>', 'how many ranks there are', integer(2))
    .requiredOption(
      '--store <address>',
      'where the ranks meet: tcp://host:port of rank 0, or file:///folder',
      store,
    )
    .option(
      '--layer <numbers>',
      'the layers, separated by commas, in the order of rank 0; or all',
      layerNumbers,
      'all',
    )
    .option('--timeout <ms>', 'milliseconds to wait for a peer', integer(1), 30_000)
    .option('--address <address>', 'of the interface that peers reach this machine by');
  addConfigFlags(addLayerFlags(command))
    .addOption(new Option('--synthetic <json>', 'made-up weights of a shape, for bench').hideHelp())
    .action(async (path: string | undefined, options: WorkerOptions, command: Command) => {
      if ((path === undefined) === (options.synthetic === undefined))
        command.error("error: missing required argument 'checkpoint'");
      await work(path, options);
    });
}

async function work(path: string | undefined, options: WorkerOptions): Promise<void> {
  const { rank, size, store, timeout: timeoutMs, address } = options;
  const group = await ExpertGroup.join({ rank, size, store, timeoutMs, address, workers: true });
  const layers: MoELayer[] = [];
  try {
    layers.push(
      ...(path === undefined
        ? [await synthetic(options, group)]
        : await load(path, options, group)),
    );
    await group.follow(layers);
  } finally {
    for (const layer of layers) await layer.close();
    await group.close();
  }
}

async function load(path: string, options: WorkerOptions, group: ExpertGroup): Promise<MoELayer[]> {
  const { options: config } = await configOverrides(options.config, options.set);
  const checkpoint = await MoECheckpoint.open(path, { stack: options.stack });
  configured(options.set, () => checkpoint.configWith(config));
  const layers: MoELayer[] = [];
  for (const layer of options.layer === 'all' ? checkpoint.layers : options.layer)
    layers.push(await checkpoint.load(layer, { config, ...layerOptions(options), group }));
  await checkpoint.close();
  return layers;
}

async function synthetic(options: WorkerOptions, group: ExpertGroup): Promise<MoELayer> {
  const { syntheticLayer } = await import('./bench/synthetic_layer.js');
  const { shape, config } = JSON.parse(options.synthetic as string);
  return syntheticLayer(shape, { config, ...layerOptions(options), group });
}

function store(text: string): string {
  try {
    resolveGroupOptions({ rank: 0, size: 1, store: text });
    return text;
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}
