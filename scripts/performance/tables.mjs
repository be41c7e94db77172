// Tables of the performance page.
export const median = ({ nodeMoe }) => nodeMoe.milliseconds.median;
export const fixed = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

export function table(titles, rows) {
  const row = (cells) => `| ${cells.join(' | ')} |`;
  return [row(titles), row(titles.map(() => '---')), ...rows.map(row)].join('\n');
}

export function peersTable({ cases }) {
  const nameOf = ({ name, type }) => `${name} ${type}`;
  const names = [...new Set(cases.flatMap(({ peers }) => peers.map(nameOf)))];
  const ratio = (peer) => {
    if (peer === undefined) return '';
    return peer.ratio === null ? 'disturbed' : `${peer.ratio.toFixed(2)}x`;
  };
  return table(
    ['weights', 'tokens', 'ms', ...names],
    cases.map((one) => [
      ...[one.weightType, one.tokens, fixed(median(one))],
      ...names.map((name) => ratio(one.peers.find((peer) => nameOf(peer) === name))),
    ]),
  );
}
