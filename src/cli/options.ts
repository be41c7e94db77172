import { type Command, InvalidArgumentError, Option } from 'commander';
import { expectKind, type Flag, given, type Kind, type Row } from '../base/rows.js';
import type { DeviceName } from '../binding/devices.js';
import type { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { placeRows } from '../config/hugging_face.js';
import { type HeldOptions, heldRows } from '../layer/options.js';
import { integer, range } from './arguments.js';
import { setting } from './config_overrides.js';

/** What several commands take: names, help, and how it is read. */
export const checkpointArgument = [
  '<checkpoint>',
  'a folder with config.json, a .safetensors file, or a .gguf file',
] as const;
export const inputFlag = [
  '--input <file>',
  'a .safetensors file with what enters the layers, [tokens, hidden]',
] as const;
export const tensorFlag = [
  '--tensor <name>',
  'the input; {layer} stands for the number (default: layers.{layer}.input)',
] as const;
export const tokenIdsFlag = [
  '--token-ids <name>',
  'the tokens’ ids, by which some layers choose; {layer} as in --tensor (default: token_ids)',
] as const;
export const tokensFlag = [
  '--tokens <begin:end>',
  'only these tokens of the input',
  range,
] as const;
export const jsonFlag = ['--json', 'print one JSON document and nothing else'] as const;

/** What commander makes of the flags of a layer. */
export type LayerFlags = HeldOptions & { device: DeviceName };

type FlagName = keyof HeldOptions;

const flags = Object.entries<Row>(heldRows).flatMap(([name, { kind, flag }]) =>
  flag === undefined ? [] : [{ name: name as FlagName, kind, flag }],
);

/** Adds flags of how a layer is held and run: all that there are, `only` some, or those but some. */
export function addLayerFlags(
  command: Command,
  { only, without = [] }: { only?: readonly FlagName[]; without?: readonly FlagName[] } = {},
): Command {
  for (const { name, kind, flag } of flags)
    if ((only === undefined || only.includes(name)) && !without.includes(name))
      command.addOption(optionOf(name, kind, flag));
  return command;
}

/** Adds a flag for each of the options that has one. */
export function addRowFlags(command: Command, rows: object): Command {
  for (const [name, { kind, flag }] of Object.entries<Row>(rows as Record<string, Row>))
    if (flag !== undefined) command.addOption(optionOf(name, kind, flag));
  return command;
}

const spelt = (name: string) =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

function optionOf(name: string, kind: Kind, { value, help, default: byDefault }: Flag): Option {
  const option = new Option(value === undefined ? spelt(name) : `${spelt(name)} <${value}>`, help);
  if (byDefault !== undefined) option.default(byDefault);
  return value === undefined ? option : option.argParser((text) => parsed(name, kind, text));
}

/** The text as a value of the kind. */
function parsed(name: string, kind: Kind, text: string): unknown {
  if (kind.is === 'integer') return integer(kind.min, kind.max)(text);
  if (kind.is === 'choice') {
    const value = kind.of.find((known) => String(known) === text);
    if (value !== undefined) return value;
    throw new InvalidArgumentError(`Expected one of ${kind.of.join(', ')}, got \`${text}\`.`);
  }
  const value = kind.is === 'number' && text.trim() !== '' ? Number(text) : text;
  try {
    expectKind(name, value, kind);
    return value;
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

export const deviceName = (text: string) =>
  parsed('device', heldRows.device.kind, text) as DeviceName;

/** What the flags say, for the API. */
export const layerOptions = (options: HeldOptions) => given(heldRows, options);

/** The same flags for another process. */
export function layerArguments(options: HeldOptions): string[] {
  return flags.flatMap(({ name, flag }) => {
    const value = options[name];
    if (value === undefined || value === false) return [];
    return flag.value === undefined ? [spelt(name)] : [spelt(name), String(value)];
  });
}

export const ranksFlag = [
  '--ranks <n>',
  'spread the experts over so many processes on this machine',
  integer(1, 256),
  1,
] as const;
export const setFlag = [
  '--set <name=value>',
  'one MoEConfig option, as comp_comm_parallel=true; repeatable',
  setting,
] as const;

/** What of a checkpoint and its config is said on the command line. */
export interface ConfigFlags {
  stack?: string;
  config?: string;
  set?: Record<string, unknown>;
}

export function addConfigFlags(command: Command): Command {
  return command
    .addOption(stackOption())
    .option(
      '--config <file>',
      'MoEConfig options in MindFormers YAML or JSON; those it names replace the checkpoint’s',
    )
    .option(...setFlag);
}

export const stackOption = () => optionOf('stack', placeRows.stack.kind, placeRows.stack.flag);

/** The same flags for another process. */
export function configArguments({ config, set = {}, stack }: ConfigFlags): string[] {
  return [
    ...(stack === undefined ? [] : ['--stack', stack]),
    ...(config === undefined ? [] : ['--config', config]),
    ...Object.entries(set).flatMap(([name, value]) => [
      '--set',
      `${name}=${JSON.stringify(value)}`,
    ]),
  ];
}

/** The files that a run reads, which none of its outputs may be. */
export function filesRead(
  { input, config }: { input: string; config?: string },
  { files }: MoECheckpoint,
): string[] {
  return [input, ...(config === undefined ? [] : [config]), ...files];
}

/** Prints a result: a JSON document, or what a person reads. */
export function print(json: boolean | undefined, document: unknown, text: () => string): void {
  process.stdout.write(`${json === true ? JSON.stringify(document, null, 2) : text()}\n`);
}

/** Aborts when the user presses Ctrl-C; a second one ends the process. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  process.once('SIGINT', () => controller.abort());
  return controller.signal;
}
