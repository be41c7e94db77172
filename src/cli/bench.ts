import { availableParallelism } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseFields } from '../config/parse.js';
import type { DeviceName } from '../devices.js';
import {
  type ActivationType,
  type WeightGroup,
  type WeightType,
  weightTypes,
} from '../layer/options.js';
import { integer, integers, notNegative, oneOf, positive } from './arguments.js';
import type { PeerChoice } from './bench/peer.js';
import { type PeerName, peerTypes } from './bench/peer_install.js';
import { benchReport } from './bench/report.js';
import { type ShapeName, shapeNames, shapes } from './bench/shapes.js';
import { setting } from './config_overrides.js';
import {
  activationTypeOption,
  deviceOption,
  jsonOption,
  print,
  ranksOption,
  threadsOption,
  weightGroupOption,
} from './options.js';
import { wrap } from './text.js';

interface BenchOptions {
  shape: ShapeName;
  hidden?: number;
  intermediate?: number;
  experts?: number;
  topK?: number;
  tokens: number[];
  weightType: WeightType[];
  weightGroup?: WeightGroup;
  activationType?: ActivationType;
  device: DeviceName;
  threads?: number;
  ranks: number;
  set?: Record<string, unknown>;
  seconds: number;
  eventLoop: number;
  peers?: PeerChoice[] | true;
  json?: true;
}

export function addBench(program: Command): void {
  program
    .command('bench')
    .description(
      "times one layer with made-up weights, next to this machine's own limits and to other packages",
    )
    .addOption(
      new Option('--shape <name>', "a published model's layer")
        .choices(shapeNames)
        .default('bench-small'),
    )
    .addOption(
      new Option('--hidden <n>', 'hidden size, instead of the one of the shape').argParser(
        integer(1),
      ),
    )
    .addOption(new Option('--intermediate <n>', 'intermediate size').argParser(integer(1)))
    .addOption(new Option('--experts <n>', 'experts').argParser(integer(1)))
    .addOption(new Option('--top-k <n>', 'experts per token').argParser(integer(1)))
    .addOption(
      list('--tokens <list>', 'batch sizes')
        .argParser(integers(1))
        .default([1, 8, 32, 128, 512], '1,8,32,128,512'),
    )
    .addOption(
      list('--weight-type <list>', `${weightTypes.join(', ')}`)
        .argParser(oneOf(weightTypes))
        .default(['float32'], 'float32'),
    )
    .addOption(weightGroupOption())
    .addOption(activationTypeOption())
    .addOption(deviceOption())
    .addOption(threadsOption())
    .addOption(ranksOption().default(1))
    .addOption(
      new Option('--set <name=value>', 'one MoEConfig option of the layer; repeatable').argParser(
        setting,
      ),
    )
    .addOption(
      new Option('--seconds <n>', 'time for each contestant and batch size')
        .argParser(positive)
        .default(1),
    )
    .addOption(
      new Option(
        '--event-loop <seconds>',
        'length of the forward that the event loop is watched during; 0: none',
      )
        .argParser(notNegative)
        .default(2),
    )
    .addOption(
      new Option(
        '--peers [list]',
        'compare with other packages: name:type, ... (default: both, in the type nearest)',
      ).argParser(peerChoices),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      () =>
        `\n${wrap(`Peers: ${peerHelp()}. They are installed into bench/peers when first asked for.`)}`,
    )
    .action(async (options: BenchOptions, command: Command) => {
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
      const { runBench } = await import('./bench/run_bench.js'); // makes a million values when loaded
      const result = await runBench({
        shape,
        tokens: options.tokens,
        weightTypes: options.weightType,
        weightGroup: options.weightGroup,
        activationType: options.activationType,
        device: options.device,
        threads: options.threads ?? Math.max(1, Math.floor(availableParallelism() / options.ranks)),
        ranks: options.ranks,
        config: parseFields(options.set ?? {}).options,
        seconds: options.seconds,
        eventLoopSeconds: options.eventLoop,
        peers: options.peers ?? [],
      });
      print(options.json, result, () => benchReport(result));
    });
}

function list(flags: string, description: string): Option {
  return new Option(flags, `${description}, separated by commas`);
}

function peerChoices(text: string): PeerChoice[] {
  return text.split(',').map((choice) => {
    const [name = '', type = ''] = choice.trim().split(':');
    const known: readonly string[] | undefined = Object.hasOwn(peerTypes, name)
      ? peerTypes[name as PeerName]
      : undefined;
    if (known?.includes(type) !== true)
      throw new InvalidArgumentError(`Expected name:type of ${peerHelp()}, got \`${choice}\`.`);
    return { name: name as PeerName, type };
  });
}

function peerHelp(): string {
  return Object.entries(peerTypes)
    .map(([name, types]) => `${name}:{${types.join(',')}}`)
    .join(' and ');
}
