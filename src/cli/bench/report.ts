import {
  bold,
  type Column,
  counted,
  facts,
  milliseconds,
  percent,
  significant,
  table,
  wrap,
} from '../text.js';
import type { EventLoop } from './event_loop.js';
import type { Lateness } from './lateness.js';
import type { BenchResult } from './run_bench.js';

/** From this part of the processors on, other programs are said to disturb. */
const disturbing = 0.1;

/** What `bench` tells a person. */
export function benchReport(result: BenchResult): string {
  const parts = [...benchFacts(result), '', caseTable(result)];
  if (result.eventLoop !== undefined) parts.push('', ...eventLoopText(result.eventLoop));
  if (result.emulated)
    parts.push(
      '',
      wrap('note: the device is emulated: its results are checked, its times mean nothing'),
    );
  return [...parts, ...busyNote(result)].join('\n');
}

/** Nothing where the machine was idle. */
export function busyNote({ busyFraction }: { busyFraction: number }): string[] {
  if (busyFraction <= disturbing) return [];
  const note = `note: other programs used ${percent(busyFraction)} of the processors when this run began: times are too long`;
  return ['', wrap(note)];
}

/** What was measured, on what. */
export function benchFacts(result: Omit<BenchResult, 'cases'>): string[] {
  const { shape, machine, device, deviceName, kernels, threads, ranks } = result;
  const { expertNum, numExpertsChosen, hiddenSize, intermediateSize } = shape;
  const what =
    machine === undefined ? [deviceName, kernels] : [kernels, counted(threads, 'thread')];
  const limits =
    machine &&
    `${significant(machine.gflops)} GFLOP/s, ${significant(machine.gigabytesPerSecond)} GB/s: the best seen in this run`;
  const onRanks = ranks > 1 ? [`on each of ${ranks} ranks`] : [];
  return [
    bold(
      wrap(
        `${expertNum} experts, ${numExpertsChosen} per token, ${hiddenSize} x ${intermediateSize}`,
      ),
    ),
    facts([
      ['device', [device, ...what, ...onRanks].join(', ')],
      ...(limits === undefined ? [] : [['machine', limits] as const]),
    ]),
  ];
}

function caseTable({ cases }: BenchResult): string {
  const columns: Column[] = [
    { title: 'weights', align: 'left' },
    { title: 'tokens' },
    { title: 'median' },
    { title: 'p10' },
    { title: 'p90' },
    { title: 'GFLOP/s' },
    { title: 'of peak' },
    { title: 'GB/s' },
    { title: 'of peak' },
  ];
  const rows = cases.map(({ weightType, tokens, nodeMoe }) => [
    weightType,
    String(tokens),
    milliseconds(nodeMoe.milliseconds.median),
    milliseconds(nodeMoe.milliseconds.p10),
    milliseconds(nodeMoe.milliseconds.p90),
    significant(nodeMoe.gflops),
    nodeMoe.flopFraction === undefined ? '' : percent(nodeMoe.flopFraction),
    significant(nodeMoe.gigabytesPerSecond),
    nodeMoe.bandwidthFraction === undefined ? '' : percent(nodeMoe.bandwidthFraction),
  ]);
  return table(columns, rows);
}

/** @param others further rows */
export function eventLoopText(
  { tokens, calls, idle, nodeMoe }: EventLoop,
  others: readonly [string, Lateness][] = [],
): string[] {
  const batch = `${counted(calls, 'call')} of ${counted(tokens, 'token')}`;
  const columns: Column[] = [
    { title: '', align: 'left' },
    { title: 'lasted' },
    { title: 'ticks' },
    { title: 'p50' },
    { title: 'p99' },
    { title: 'max' },
  ];
  const row = (name: string, { workMilliseconds, ticks, p50, p99, max }: Lateness) => [
    name,
    milliseconds(workMilliseconds),
    String(ticks),
    ...[p50, p99, max].map(milliseconds),
  ];
  const rows = [['nothing', idle], [`node-moe, ${batch}`, nodeMoe], ...others] as const;
  return [
    bold(wrap('How late a 5 ms interval of the same process ran meanwhile')),
    table(
      columns,
      rows.map(([name, late]) => row(name, late)),
    ),
  ];
}
