import type { Command } from 'commander';
import { OutputFile } from '../base/output_file.js';
import { OutputFolder } from '../base/output_folder.js';
import { countsInputs } from '../binding/weight_formats.js';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { packCheckpoint } from '../checkpoint/packed/write.js';
import { type WeightType, weightTypes } from '../layer/options.js';
import { heldModelRows } from '../model/options.js';
import { Recording } from './activations.js';
import { layerNumbers } from './arguments.js';
import {
  addLayerFlags,
  addRowFlags,
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

interface PackFlags extends Omit<LayerFlags, 'device'> {
  out: string;
  layer?: number[] | 'all';
  outputType?: WeightType;
  stack?: string;
  calibrate?: string;
}

const calibratedTypes = weightTypes.filter(countsInputs).join(', ');

type PackCommandOptions = PackFlags & { json?: true };

export function addPack(program: Command): void {
  const command = program
    .command('pack')
    .description(
      'packs a model for this CPU, as it is held: it then loads without being read. Into a folder: the whole model, for ' +
        '`generate`, `chat` and `serve`; into a .safetensors file, or with --layer: its MoE layers, for `run`',
    )
    .argument(...checkpointArgument)
    .requiredOption('--out <path>', 'the folder to write, or the .safetensors file')
    .option(
      '--layer <numbers>',
      'into a file: the layers, separated by commas, or all',
      layerNumbers,
    );
  addLayerFlags(command, { without: ['device', 'unevenExperts'] });
  addRowFlags(command, { outputType: heldModelRows.outputType })
    .addOption(stackOption())
    .option(
      '--calibrate <file>',
      `quantise experts by what enters their layers, layers.{layer}.input of a .safetensors file; for ${calibratedTypes}`,
    )
    .option(...jsonFlag)
    .action(async (path: string, { json, ...options }: PackCommandOptions) => {
      const { layer, out } = options;
      if (out.endsWith('.gguf'))
        throw new Error(
          `Expected \`--out\` to name a folder or a .safetensors file, got \`${out}\`: GGUF files are read, not written`,
        );
      if (layer !== undefined || out.endsWith('.safetensors'))
        await packLayers(path, options, json);
      else await packWhole(path, options, json);
    });
}

const onlyInto = (what: string, flag: string) =>
  new Error(`Expected \`${flag}\` with a --out that is ${what}`);

const calibrationOf = async (path: string | undefined) =>
  path === undefined ? undefined : Recording.open(path);

async function packLayers(path: string, options: PackFlags, json: true | undefined): Promise<void> {
  if (options.outputType !== undefined) throw onlyInto('a folder', '--output-type');
  const result = await pack(path, options);
  print(json, result, () =>
    [
      wrap(
        `${result.out}: MoE layers ${ranges(result.layers)} as ${result.weightType}, ${bytes(result.bytes)}, ` +
          `packed in ${milliseconds(result.milliseconds)}`,
      ),
      `layout ${result.layout}`,
    ].join('\n'),
  );
}

async function packWhole(path: string, options: PackFlags, json: true | undefined): Promise<void> {
  const { out, layer: _, stack, calibrate, ...held } = options;
  if (stack !== undefined) throw onlyInto('a .safetensors file', '--stack');
  const started = performance.now();
  const { packModel } = await import('../model/packed/write.js');
  await using folder = await OutputFolder.open('--out', out);
  const progress = new ProgressLine('packing');
  const signal = interruptSignal();
  const packing = packModel(path, folder, {
    ...{ ...held, signal, onProgress: progress.update },
    calibration: await calibrationOf(calibrate),
  });
  const packed = await packing.finally(() => progress.end());
  const result = { out, ...packed, milliseconds: performance.now() - started };
  const { weightType, attentionType, outputType } = packed;
  const others = Object.entries({ attention: attentionType, 'output head': outputType })
    .filter(([, type]) => type !== weightType)
    .map(([part, type]) => `its ${part} as ${type}, `);
  print(json, result, () =>
    [
      wrap(
        `${out}: the whole model of ${result.layers} layers as ${weightType}, ${others.join('')}` +
          `${bytes(result.bytes)}, packed in ${milliseconds(result.milliseconds)}`,
      ),
      `layout ${result.layout}`,
      ...result.notes.map((note) => wrap(`note: ${note}`)),
    ].join('\n'),
  );
}

async function pack(path: string, options: PackFlags) {
  const { out, layer = 'all' } = options;
  const started = performance.now();
  await using checkpoint = await MoECheckpoint.open(path, { stack: options.stack });
  const layers = layer === 'all' ? checkpoint.layers : layer;
  for (const number of layers) checkpoint.expectLayer(number);
  await using file = await OutputFile.open('--out', out, {
    read: [...checkpoint.files, ...(options.calibrate === undefined ? [] : [options.calibrate])],
    outOfOrder: true,
  });
  const progress = new ProgressLine('packing');
  try {
    const result = await packCheckpoint(checkpoint, file, {
      ...layerOptions(options),
      layers,
      calibration: await calibrationOf(options.calibrate),
      onProgress: progress.update,
      signal: interruptSignal(),
    });
    return { out, layers: [...layers], ...result, milliseconds: performance.now() - started };
  } finally {
    progress.end();
  }
}
