// Times a layer against the same one in other packages: npm run bench:peers -- --peers ggml:q4_K --tokens 1
import { Command, InvalidArgumentError, Option } from 'commander';
import { addBenchOptions, benchSettings } from '../dist/cli/bench.js';
import { interruptSignal, print } from '../dist/cli/options.js';
import { wrap } from '../dist/cli/text.js';
import { parsePeers, peerHelp } from './compare/choices.mjs';
import { compare } from './compare/compare.mjs';
import { compareReport } from './compare/report.mjs';

function peersArgument(text) {
  try {
    return parsePeers(text);
  } catch (error) {
    throw new InvalidArgumentError(error.message);
  }
}

const command = addBenchOptions(new Command('bench:peers'))
  .description('times one layer with made-up weights, next to the same layer in other packages')
  .addOption(
    new Option(
      '--peers <list>',
      'name:type, ... (default: all of the device, in the type nearest)',
    ).argParser(peersArgument),
  )
  .addHelpText(
    'after',
    () =>
      `\n${wrap(`Peers: ${peerHelp}. They are installed into bench/peers when first asked for.`)}`,
  )
  .action(async (options) => {
    const settings = benchSettings(options, command);
    const result = await compare(settings, options.peers ?? true, interruptSignal());
    print(options.json, result, () => compareReport(result));
  });
await command.parseAsync().catch((error) => {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
});
