import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { OutputFile } from '../base/output_file.js';
import { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { Recording, type TokenRange } from './activations.js';
import { integers, range } from './arguments.js';
import { configOverrides, configured } from './config_overrides.js';
import {
  addConfigFlags,
  addLayerFlags,
  type ConfigFlags,
  interruptSignal,
  jsonOption,
  type LayerFlags,
  print,
} from './options.js';
import { collect, type ReportData } from './report/collect.js';
import { reportPage } from './report/page.js';
import { counted } from './text.js';

interface ReportOptions extends Pick<LayerFlags, 'device' | 'threads'>, ConfigFlags {
  layer: number[] | 'all';
  input: string;
  html: string;
  tensor?: string;
  tokens?: TokenRange;
  json?: true;
}

export function addReport(program: Command): void {
  const command = program
    .command('report')
    .description(
      'routes recorded activations and writes a page on load, confidence, drops and balance',
    )
    .argument('<checkpoint>', 'a folder with config.json, or a .safetensors file')
    .requiredOption(
      '--input <file>',
      'a .safetensors file with what enters the layers, [tokens, hidden]',
    )
    .requiredOption('--html <file>', 'the page; it needs nothing beside it and no network')
    .addOption(
      new Option('--layer <numbers>', 'the layer, several separated by commas, or all')
        .argParser((text) => (text === 'all' ? text : integers(0)(text)))
        .default('all'),
    )
    .option(
      '--tensor <name>',
      'the input; {layer} stands for the number (default: layers.{layer}.input)',
    )
    .addOption(
      new Option('--tokens <begin:end>', 'only these tokens of the input').argParser(range),
    );
  addConfigFlags(addLayerFlags(command, { only: ['device', 'threads'] }))
    .addOption(jsonOption())
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
  const read = [
    options.input,
    ...(options.config === undefined ? [] : [options.config]),
    ...checkpoint.files,
  ];
  await using page = await OutputFile.open('--html', options.html, { read });
  configured(options.set, () => checkpoint.configWith(config));
  const collected = await collect(checkpoint, recording, {
    layers: options.layer === 'all' ? checkpoint.layers : options.layer,
    tensor: options.tensor,
    tokens: options.tokens ?? { begin: 0, end: undefined },
    config,
    device: options.device,
    threads: options.threads,
    signal,
  });
  const data = { checkpoint: path, input: options.input, version: await version(), ...collected };
  await page.write(await reportPage(data));
  return data;
}

async function version(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
