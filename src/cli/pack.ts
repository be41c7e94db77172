import type { Command } from 'commander';
import { OutputFile } from '../base/output_file.js';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { packCheckpoint } from '../checkpoint/packed/write.js';
import { layerNumbers } from './arguments.js';
import {
  addLayerFlags,
  checkpointArgument,
  interruptSignal,
  jsonFlag,
  type LayerFlags,
  layerOptions,
  print,
  stackOption,
} from './options.js';
import { ProgressLine } from './progress.js';
import { bytes, milliseconds, ranges, wrap } from './text.js';

interface PackCommandOptions extends Omit<LayerFlags, 'device'> {
  out: string;
  layer: number[] | 'all';
  stack?: string;
  json?: true;
}

export function addPack(program: Command): void {
  const command = program
    .command('pack')
    .description(
      "packs a checkpoint's experts for this CPU into one file, which loads without reading it",
    )
    .argument(...checkpointArgument)
    .requiredOption('--out <file>', 'the .safetensors file to write')
    .option('--layer <numbers>', 'the layers, separated by commas, or all', layerNumbers, 'all');
  addLayerFlags(command, { without: ['device', 'unevenExperts'] })
    .addOption(stackOption())
    .option(...jsonFlag)
    .action(async (path: string, options: PackCommandOptions) => {
      const { json, ...rest } = options;
      const result = await pack(path, rest);
      print(json, result, () =>
        [
          wrap(
            `${result.out}: MoE layers ${ranges(result.layers)} in ${result.weightType}, ${bytes(result.bytes)}, ` +
              `packed in ${milliseconds(result.milliseconds)}`,
          ),
          `layout ${result.layout}`,
        ].join('\n'),
      );
    });
}

async function pack(path: string, options: Omit<PackCommandOptions, 'json'>) {
  const { out, layer } = options;
  const started = performance.now();
  await using checkpoint = await MoECheckpoint.open(path, { stack: options.stack });
  const layers = layer === 'all' ? checkpoint.layers : layer;
  for (const number of layers) checkpoint.expectLayer(number);
  await using file = await OutputFile.open('--out', out, {
    read: checkpoint.files,
    outOfOrder: true,
  });
  const progress = new ProgressLine('packing');
  try {
    const result = await packCheckpoint(checkpoint, file, {
      ...layerOptions(options),
      layers,
      onProgress: progress.update,
      signal: interruptSignal(),
    });
    return { out, layers: [...layers], ...result, milliseconds: performance.now() - started };
  } finally {
    progress.end();
  }
}
