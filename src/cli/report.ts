import type { Command } from 'commander';
import { OutputFile } from '../base/output_file.js';
import { packageVersion } from '../base/package.js';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { Recording, type TokenRange } from './activations.js';
import { layerNumbers } from './arguments.js';
import { configOverrides, configured } from './config_overrides.js';
import {
  addConfigFlags,
  addLayerFlags,
  type ConfigFlags,
  checkpointArgument,
  filesRead,
  inputFlag,
  interruptSignal,
  jsonFlag,
  type LayerFlags,
  print,
  tensorFlag,
  tokenIdsFlag,
  tokensFlag,
} from './options.js';
import { collect, type ReportData } from './report/collect.js';
import { reportPage } from './report/page.js';
import { counted } from './text.js';

interface ReportOptions extends Pick<LayerFlags, 'device' | 'threads'>, ConfigFlags {
  layer: number[] | 'all';
  input: string;
  html: string;
  tensor?: string;
  tokenIds?: string;
  tokens?: TokenRange;
  json?: true;
}

export function addReport(program: Command): void {
  const command = program
    .command('report')
    .description(
      'routes recorded activations and writes a page on load, confidence, drops and balance',
    )
    .argument(...checkpointArgument)
    .requiredOption(...inputFlag)
    .requiredOption('--html <file>', 'the page; it needs nothing beside it and no network')
    .option(
      '--layer <numbers>',
      'the layer, several separated by commas, or all',
      layerNumbers,
      'all',
    )
    .option(...tensorFlag)
    .option(...tokenIdsFlag)
    .option(...tokensFlag);
  addConfigFlags(addLayerFlags(command, { only: ['device', 'threads'] }))
    .option(...jsonFlag)
    .action(async (path: string, options: ReportOptions) => {
      const data = await report(path, options);
      print(options.json, data, () => {
        const layers = counted(data.layers.length, 'layer');
        return `${options.html}: ${layers} of ${path}, ${data.expertNum} experts each`;
      });
    });
}

async function report(path: string, options: ReportOptions): Promise<ReportData> {
  const signal = interruptSignal();
  const { options: config } = await configOverrides(options.config, options.set);
  const recording = await Recording.open(options.input);
  await using checkpoint = await MoECheckpoint.open(path, { stack: options.stack });
  const read = filesRead(options, checkpoint);
  await using page = await OutputFile.open('--html', options.html, { read });
  configured(options.set, () => checkpoint.configWith(config));
  const collected = await collect(checkpoint, recording, {
    layers: options.layer === 'all' ? checkpoint.layers : options.layer,
    tensor: options.tensor,
    tokenIds: options.tokenIds,
    tokens: options.tokens ?? { begin: 0, end: undefined },
    config,
    device: options.device,
    threads: options.threads,
    signal,
  });
  const data = { checkpoint: path, input: options.input, version: packageVersion, ...collected };
  await page.write(await reportPage(data));
  return data;
}
