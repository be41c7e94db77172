import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { given, type Row } from '../base/rows.js';
import { type HeldModelOptions, heldModelRows } from '../model/options.js';
import { type ServeOptions, serveRows } from '../server/options.js';
import { addRowFlags, checkpointArgument } from './options.js';
import { ProgressLine } from './progress.js';

type ServeFlags = HeldModelOptions & ServeOptions;

/** Only a server has so many sequences that it matters. */
const maxWaiting: Row = {
  ...heldModelRows.maxWaiting,
  flag: { value: 'n', help: 'sequences that may wait before others are refused (default: 256)' },
};

export function addServe(program: Command): void {
  const command = program
    .command('serve')
    .description('serves a whole model over HTTP with OpenAI’s API, until SIGTERM or Ctrl-C')
    .argument(...checkpointArgument);
  addRowFlags(addRowFlags(command, { ...heldModelRows, maxWaiting }), serveRows).action(
    serveCheckpoint,
  );
}

async function serveCheckpoint(path: string, flags: ServeFlags): Promise<void> {
  // Other commands load none of it.
  const { serve } = await import('../server/serve.js');
  const { MoEModel } = await import('../model/model.js');
  const interrupted = interruption();
  const stop = new AbortController();
  const progress = new ProgressLine('loading');
  const loading = MoEModel.load(path, {
    ...given(heldModelRows, flags),
    onProgress: progress.update,
    signal: stop.signal,
  });
  try {
    await using server = await serve(loading, {
      modelName: basename(resolve(path)),
      ...given(serveRows, flags),
      apiKey: flags.apiKey ?? (process.env['MOE_API_KEY'] || undefined),
      logger: true,
    });
    process.stdout.write(`listening on ${server.url}\n`);
    await Promise.race([server.ready, interrupted]);
    progress.end();
    if (server.state === 'ready') process.stdout.write('ready\n');
    await interrupted;
  } finally {
    stop.abort();
    progress.end();
    await loading.then(
      (model) => model.close(),
      () => undefined, // it has failed, which was said, or was not to go on
    );
  }
}

/** Settles at the first SIGTERM or Ctrl-C; a second one ends the process. */
function interruption(): Promise<void> {
  const signals = ['SIGTERM', 'SIGINT'] as const;
  return new Promise((resolve) => {
    const stop = () => {
      for (const signal of signals) process.off(signal, stop);
      resolve();
    };
    for (const signal of signals) process.on(signal, stop);
  });
}
