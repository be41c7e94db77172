import { InvalidArgumentError, Option } from 'commander';
import { type DeviceName, resolveDevice } from '../devices.js';
import { activationTypes, type WeightGroup, weightGroups } from '../layer/options.js';
import { integer } from './arguments.js';

/** Options that several commands take. */
export const jsonOption = () => new Option('--json', 'print one JSON document and nothing else');

export const deviceOption = () =>
  new Option('--device <name>', 'auto, cpu, cuda, cuda:N, ascend or ascend:N')
    .argParser(deviceName)
    .default('auto');

export function deviceName(text: string): DeviceName {
  try {
    if (text !== 'auto') resolveDevice(text);
    return text as DeviceName;
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

export const threadsOption = () =>
  new Option('--threads <n>', 'threads of the device (default: all)').argParser(integer(1, 4096));

export const ranksOption = () =>
  new Option(
    '--ranks <n>',
    'spread the experts over so many processes on this machine (default: 1)',
  ).argParser(integer(1, 256));

export const weightGroupOption = () =>
  new Option(
    '--weight-group <n>',
    'inputs that share a scale, for int8 and int4 (default: 32; all on Ascend)',
  ).argParser(weightGroup);

function weightGroup(text: string): WeightGroup {
  const group = weightGroups.find((known) => String(known) === text);
  if (group !== undefined) return group;
  throw new InvalidArgumentError(`Expected one of ${weightGroups.join(', ')}, got \`${text}\`.`);
}

export const activationTypeOption = () =>
  new Option(
    '--activation-type <type>',
    'what rows are multiplied as, int8 with int8 and int4 experts (default: float)',
  ).choices(activationTypes);

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
