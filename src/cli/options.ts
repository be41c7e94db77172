import { Option } from 'commander';
import { integer } from './arguments.js';

/** Options that several commands take. */
export const jsonOption = () => new Option('--json', 'print one JSON document and nothing else');

export const deviceOption = () =>
  new Option('--device <name>', 'auto, cpu, cuda, cuda:N, ascend or ascend:N').default('auto');

export const threadsOption = () =>
  new Option('--threads <n>', 'threads of the device (default: all)').argParser(integer(1));

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
