// Serves one layer of a checkpoint until SIGTERM or Ctrl-C.
//   node server.mjs CHECKPOINT [LAYER]       the variables of `numbers` and HOST are read from the environment
import { MoELayer } from 'node-moe';
import { createApp } from './app.mjs';

const usage = 'usage: node server.mjs CHECKPOINT [LAYER]';

/** Numbers of the environment: the option of `createApp` or `listen` that each sets, and the least it may be. */
const numbers = {
  PORT: { option: 'port', least: 0 },
  MAX_BATCH_TOKENS: { option: 'maxBatchTokens', least: 1 },
  MAX_WAITING_TOKENS: { option: 'maxWaitingTokens', least: 1 },
  REQUEST_SECONDS: { option: 'requestSeconds', least: 1 },
  DRAIN_SECONDS: { option: 'drainSeconds', least: 1 },
};

class UsageError extends Error {}

function integer(name, text, least) {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`Expected ${name} to be an integer from ${least} on, got \`${text}\``);
}

function readArguments([checkpoint, layer, ...rest], environment) {
  if (checkpoint === undefined || rest.length > 0) throw new UsageError(usage);
  const given = Object.entries(numbers)
    .filter(([name]) => environment[name])
    .map(([name, { option, least }]) => [option, integer(name, environment[name], least)]);
  const { port = 8080, ...options } = Object.fromEntries(given);
  return {
    checkpoint,
    layer: layer === undefined ? {} : { layer: integer('LAYER', layer, 0) },
    address: { port, host: environment.HOST || '127.0.0.1' },
    options,
  };
}

async function serve({ checkpoint, layer: which, address, options }) {
  const layer = await MoELayer.load(checkpoint, which);
  try {
    const app = createApp(layer, { ...options, logger: true });
    for (const signal of ['SIGINT', 'SIGTERM'])
      process.once(signal, async () => {
        await app.close();
        await layer.close();
      });
    await app.listen(address);
  } catch (error) {
    await layer.close();
    throw error;
  }
}

try {
  await serve(readArguments(process.argv.slice(2), process.env));
} catch (error) {
  const code = error.code === undefined ? '' : ` (${error.code})`;
  process.stderr.write(`server.mjs: ${error.message}${code}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
