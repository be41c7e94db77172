import { bar, counted, outputWidth, percent, ranges, table } from './text.js';

/** Most experts drawn; beyond it only the busiest are. */
const shownExperts = 32;
const longestBar = 32;
/** Of the columns before the bar, with room for the largest share and a load of five digits. */
const beforeBar = '  expert   load    share  '.length;

export interface LoadSummary {
  /** Choices served, over all experts. */
  served: number;
  /** The busiest expert's load over the mean; 1 is perfect balance, 0 when nothing was served. */
  imbalance: number;
  busiest: number;
  unused: number[];
}

export function summarize(expertLoad: readonly number[]): LoadSummary {
  const served = expertLoad.reduce((sum, load) => sum + load, 0);
  const most = Math.max(...expertLoad);
  return {
    served,
    imbalance: served === 0 ? 0 : (most * expertLoad.length) / served,
    busiest: expertLoad.indexOf(most),
    unused: expertLoad.flatMap((load, expert) => (load === 0 ? [expert] : [])),
  };
}

/** One line per expert: load, share and a bar, whose full width is the busiest expert. Many experts: busiest first. */
export function loadTable(expertLoad: readonly number[]): string {
  const { served } = summarize(expertLoad);
  const most = Math.max(...expertLoad, 1);
  const all = expertLoad.map((load, expert) => ({ expert, load }));
  const few = all.length <= shownExperts;
  const shown = few
    ? all
    : all.toSorted((a, b) => b.load - a.load || a.expert - b.expert).slice(0, shownExperts);
  const barWidth = Math.min(longestBar, Math.max(0, outputWidth() - beforeBar));
  const rows = shown.map(({ expert, load }) => [
    String(expert),
    String(load),
    percent(served === 0 ? 0 : load / served),
    bar(load / most, barWidth),
  ]);
  const columns = [
    { title: 'expert' },
    { title: 'load' },
    { title: 'share' },
    { title: '', align: 'left' as const },
  ];
  const text = table(columns, rows);
  if (few) return text;
  const rest = served - shown.reduce((sum, { load }) => sum + load, 0);
  const others = counted(all.length - shown.length, 'more expert');
  return `${text}\n  ${others} with ${percent(served === 0 ? 0 : rest / served)} of the load`;
}

export function unusedText(unused: readonly number[]): string {
  return unused.length === 0 ? 'none' : ranges(unused);
}
