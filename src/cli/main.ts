#!/usr/bin/env node
import { Command, CommanderError, Help } from 'commander';
import { packageDescription, packageVersion } from '../base/package.js';
import { addBench } from './bench.js';
import { addBenchModel } from './bench_model.js';
import { addChat } from './chat.js';
import { UsageError } from './config_overrides.js';
import { addDevices } from './devices.js';
import { addGenerate } from './generate.js';
import { addInspect } from './inspect.js';
import { addPack } from './pack.js';
import { addPerplexity } from './perplexity.js';
import { addRecord } from './record.js';
import { addReport } from './report.js';
import { addRun } from './run.js';
import { addServe } from './serve.js';
import { narrowed, outputWidth, wrap } from './text.js';
import { addWorker } from './worker.js';

function createProgram(): Command {
  const program = new Command('node-moe')
    .description(packageDescription)
    .version(packageVersion)
    .option('--verbose', 'print the stack of an error')
    .exitOverride()
    .configureOutput({
      getOutHelpWidth: outputWidth,
      getErrHelpWidth: outputWidth,
      outputError: (text, write) => write(`node-moe: ${oneLine(text.replace(/^error: /, ''))}\n`),
    })
    .configureHelp({
      formatHelp: (command, helper) =>
        narrowed(Help.prototype.formatHelp.call(helper, command, helper), helper.helpWidth),
    })
    .addHelpText('after', () => `\n${wrap('Exit codes: 0 done, 1 failed, 2 wrong usage.')}`);
  addDevices(program);
  addInspect(program);
  addPack(program);
  addGenerate(program);
  addChat(program);
  addPerplexity(program);
  addRecord(program);
  addRun(program);
  addReport(program);
  addBench(program);
  addBenchModel(program);
  addServe(program);
  addWorker(program);
  return program;
}

/** Runs one command and returns the exit code. */
async function main(): Promise<number> {
  const program = createProgram();
  try {
    await program.parseAsync();
    return 0;
  } catch (error) {
    // commander has printed its message, or the help it was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const verbose =
      program.opts<{ verbose?: true }>().verbose === true || process.env['DEBUG'] !== undefined;
    process.stderr.write(`node-moe: ${describe(error, verbose)}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

function describe(error: unknown, verbose: boolean): string {
  if (!(error instanceof Error)) return oneLine(String(error));
  if (verbose) return error.stack ?? error.message;
  if (error.name === 'AbortError') return 'interrupted';
  const code = 'code' in error && typeof error.code === 'string' ? ` (${error.code})` : '';
  return oneLine(error.message) + code;
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}

// `node-moe ... | head` closes the pipe early: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`node-moe: ${describe(error, false)}\n`);
  process.exit(1);
});

process.exitCode = await main();
