// What a person reads of a comparison.
import { benchFacts, eventLoopText } from '../../dist/cli/bench/report.js';
import { bold, counted, milliseconds, percent, significant, table } from '../../dist/cli/text.js';
import { disturbedFrom } from './turns.mjs';

const columns = [
  { title: 'weights', align: 'left' },
  { title: 'tokens' },
  { title: '', align: 'left' },
  ...['median', 'alone', 'GFLOP/s', 'error', 'its time over ours'].map((title) => ({ title })),
];

/** A ratio, or that its contestants were disturbed. */
export const ratioText = (ratio) => (ratio === null ? 'disturbed' : `${significant(ratio)}x`);

export function compareReport(result) {
  const rows = result.cases.flatMap(({ weightType, tokens, nodeMoe, peers }) => {
    const row = (name, one, ratio) => [
      ...[weightType, String(tokens), name],
      ...[milliseconds(one.milliseconds.median), milliseconds(one.alone)],
      ...[significant(one.gflops), one.error.toExponential(1), ratio],
    ];
    return [
      row('node-moe', nodeMoe, ''),
      ...peers.map((peer) =>
        row(`${peer.name} ${peer.version} ${peer.type}`, peer, ratioText(peer.ratio)),
      ),
    ];
  });
  const notes = [];
  if (result.cases.some(({ peers }) => peers.some(({ ratio }) => ratio === null)))
    notes.push(
      `disturbed: one of the two took more than ${disturbedFrom} times as long in its turns as alone`,
    );
  if (result.busyFraction > 0.1)
    notes.push(`other programs used ${percent(result.busyFraction)} of the processors at first`);
  return [
    ...benchFacts(result),
    ...['', bold('In turns, the others stopped'), table(columns, rows)],
    ...(result.eventLoop === undefined
      ? []
      : ['', ...eventLoopText(result.eventLoop, otherLoops(result.eventLoop))]),
    ...notes.flatMap((note) => ['', `note: ${note}`]),
  ].join('\n');
}

/** onnxruntime-node runs a call on the JavaScript thread of its process. */
function otherLoops({ tokens, onnxruntimeNode }) {
  if (onnxruntimeNode === undefined) return [];
  return [[`onnxruntime-node, 1 call of ${counted(tokens, 'token')}`, onnxruntimeNode]];
}
