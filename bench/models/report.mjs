// What a person reads of whole models.
import { bold, percent, significant, table } from '../../dist/cli/text.js';
import { ratioText } from '../compare/report.mjs';
import { better } from './cases.mjs';

const columns = [
  { title: 'model', align: 'left' },
  { title: 'weights', align: 'left' },
  { title: 'case', align: 'left' },
  ...['tokens/s', 'llama.cpp', 'ours over it', 'of bandwidth'].map((title) => ({ title })),
  { title: 'flash attention', align: 'left' },
];

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
  return [bold(facts), table(columns, rows)].join('\n');
}
