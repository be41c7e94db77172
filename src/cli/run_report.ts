import type { Comparison } from './expectation.js';
import { loadTable, unusedText } from './expert_load.js';
import type { LayerRun } from './run_layer.js';
import { bold, bytes, counted, errorText, facts, milliseconds, significant } from './text.js';

/** What `run` tells a person. */
export function describeRun(
  checkpoint: string,
  runs: readonly LayerRun[],
  output: string | undefined,
): string {
  const parts = [bold(checkpoint), ...runs.map(describeLayer)];
  if (output !== undefined) parts.push(`written: ${output}`);
  return parts.join('\n\n');
}

function describeLayer(run: LayerRun): string {
  const choices = run.tokens * run.numExpertsChosen;
  const lines: [string, string][] = [
    [
      'experts',
      `${run.expertNum}, ${run.numExpertsChosen} per token; ${bytes(run.weightBytes)} as ${run.weightType}`,
    ],
    [
      'run',
      `${counted(run.tokens, 'token')} in ${milliseconds(run.forwardMilliseconds)} on ${run.device}${run.ranks > 1 ? `, ${run.ranks} ranks` : ''}`,
    ],
    ['imbalance', `${significant(run.imbalance)} (busiest expert ${run.busiest} over the mean)`],
    ['unused', unusedText(run.unused)],
    ['dropped', `${run.droppedChoices} of ${choices} choices; ${capacityText(run.capacity)}`],
    ['losses', `auxiliary ${significant(run.auxLoss)}, z ${significant(run.zLoss)}`],
  ];
  if (run.unroutableTokens > 0)
    lines.push(['not finite', `${counted(run.unroutableTokens, 'token')}, their output is NaN`]);
  for (const sentence of run.diagnostics) lines.push(['note', sentence]);
  if (run.expected !== undefined) lines.push(['recorded', comparisonText(run.expected)]);
  return [bold(`Layer ${run.layer}`), facts(lines), '', loadTable(run.expertLoad)].join('\n');
}

function capacityText(capacity: number | null): string {
  return capacity === null ? 'dropless' : `capacity ${capacity} per expert`;
}

function comparisonText({
  tensor,
  maxAbsoluteError,
  maxAbsoluteExpected,
  relativeError,
  expertIdsIdentical,
}: Comparison): string {
  if (maxAbsoluteError === null || relativeError === null)
    return `${tensor}: not comparable, not all are numbers`;
  const error = `largest error ${errorText(maxAbsoluteError)} on values up to ${significant(maxAbsoluteExpected)}, relative ${errorText(relativeError)}`;
  if (expertIdsIdentical === null) return `${tensor}: ${error}`;
  return `${tensor}: ${error}, experts ${expertIdsIdentical ? 'identical' : 'DIFFERENT'}`;
}
