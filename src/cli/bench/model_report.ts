import { bold, counted, facts, inWords, percent, significant, table, wrap } from '../text.js';
import { busyNote } from './report.js';
import type { ModelBenchResult } from './run_model_bench.js';

/** What `bench-model` tells a person. */
export function modelBenchReport(result: ModelBenchResult): string {
  const { model, layers, parameters, device, kernels, threads, machine, cases } = result;
  const columns = [
    ...['weights', 'cache'].map((title) => ({ title, align: 'left' as const })),
    ...['at once', 'prompt', 'prompt/s', 'tokens/s', 'GB/s', 'of peak'].map((title) => ({ title })),
  ];
  const rows = cases.map((one) => [
    one.weightType,
    one.kvType,
    String(one.sequences),
    String(one.promptTokens),
    significant(one.promptTokensPerSecond),
    significant(one.tokensPerSecond),
    significant(one.gigabytesPerSecond),
    percent(one.bandwidthFraction),
  ]);
  return [
    bold(wrap(model)),
    facts([
      ['model', `${counted(layers, 'layer')}, ${inWords(parameters)} parameters`],
      ['device', [device, kernels, counted(threads, 'thread')].join(', ')],
      ['machine', `${significant(machine.gigabytesPerSecond)} GB/s: the best seen in this run`],
    ]),
    '',
    table(columns, rows),
    '',
    wrap(
      'Tokens per second of all sequences together: of prompts, then of what they generate; what a step of that has to read.',
    ),
    ...busyNote(result),
  ].join('\n');
}
