// What a person reads of whole models.
import { bold, percent, significant, table } from '../../dist/cli/text.js';
import { ratioText } from '../compare/report.mjs';
import { disturbedFrom } from '../compare/turns.mjs';
import { better } from './cases.mjs';

const columns = [
  { title: 'model', align: 'left' },
  { title: 'weights', align: 'left' },
  { title: 'case', align: 'left' },
  ...['tokens/s', 'llama.cpp', 'ours over it', 'of bandwidth'].map((title) => ({ title })),
  { title: 'flash attention', align: 'left' },
];

/** llama.cpp's threads wait for one another spinning, so that it suffers more than we do: such ratios flatter us. */
const busyText = (fraction) =>
  `other programs used ${percent(fraction)} of the processors at first: ratios are not to be published`;

export function modelsReport(result) {
  const rows = result.cases.map((one) => {
    const peer = better(one);
    return [
      ...[one.model, one.weightType, one.name, significant(one.nodeMoe.tokensPerSecond)],
      peer === undefined ? '' : significant(peer.tokensPerSecond),
      peer === undefined ? '' : ratioText(peer.ratio),
      one.bandwidthFraction === undefined ? '' : percent(one.bandwidthFraction),
      peer?.flash === 'flash' ? 'on' : '',
    ];
  });
  const { deviceName, kernels, threads, layers, activationType } = result;
  const facts = `${deviceName}, ${kernels}, ${threads} threads, ${layers} layers, activations ${activationType}`;
  const notes = [];
  if (result.cases.some(({ peers }) => peers.some(({ ratio }) => ratio === null)))
    notes.push('', `note: disturbed: one took more than ${disturbedFrom} times as long as alone`);
  if (result.busyFraction > 0.1) notes.push('', `note: ${busyText(result.busyFraction)}`);
  return [bold(facts), table(columns, rows), ...notes].join('\n');
}
