// Tables of the performance page.
import { better, caseNames } from '../../bench/models/cases.mjs';

export const median = ({ nodeMoe }) => nodeMoe.milliseconds.median;
export const fixed = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

export function table(titles, rows) {
  const row = (cells) => `| ${cells.join(' | ')} |`;
  return [row(titles), row(titles.map(() => '---')), ...rows.map(row)].join('\n');
}

const ratioOf = ({ ratio }) => (ratio === null ? 'disturbed' : `${ratio.toFixed(2)}x`);

export function peersTable({ cases }) {
  const nameOf = ({ name, type }) => `${name} ${type}`;
  const names = [...new Set(cases.flatMap(({ peers }) => peers.map(nameOf)))];
  const ratio = (peer) => (peer === undefined ? '' : ratioOf(peer));
  return table(
    ['weights', 'tokens', 'ms', ...names],
    cases.map((one) => [
      ...[one.weightType, one.tokens, fixed(median(one))],
      ...names.map((name) => ratio(one.peers.find((peer) => nameOf(peer) === name))),
    ]),
  );
}

/** Tokens per second of a model in each type of weights and, in brackets, how many times those of llama.cpp. */
export function modelTable(cases) {
  const types = [...new Set(cases.map(({ weightType }) => weightType))];
  const names = caseNames.filter((name) => cases.some((one) => one.name === name));
  const cell = (one) => {
    if (one === undefined) return '';
    const peer = better(one);
    const ratio = peer === undefined ? '' : ` (${ratioOf(peer)})`;
    const { bandwidthFraction: part } = one;
    const share = part === undefined ? '' : `, ${(part * 100).toFixed(0)} %`;
    return `${fixed(one.nodeMoe.tokensPerSecond)}${ratio}${share}`;
  };
  return table(
    ['weights', ...names],
    types.map((type) => [
      type,
      ...names.map((name) =>
        cell(cases.find((one) => one.weightType === type && one.name === name)),
      ),
    ]),
  );
}
