// The table that says why int4 has no offsets: what the best scales, and the best scales and offsets, of groups of one size cost.
import { recording } from './calibrated.mjs';
import { importanceOf } from './importance.mjs';
import { layerErrors, readHeldOut } from './measures.mjs';
import { more, percent, table } from './page.mjs';
import { withOffset, withScale } from './search.mjs';
import { costOf } from './statistics.mjs';
import { copyWith, layers, matrices, recordedInputs, trained } from './trained.mjs';

const kinds = [
  [4.5, '32, scale', withScale(32)],
  [4.5, '64, scale and offset', withOffset(64)],
  [4.25, '64, scale', withScale(64)],
  [4.25, '128, scale and offset', withOffset(128)],
];

export async function offsetsTable() {
  const importance = await importanceOf(await matrices(), await recordedInputs(recording()));
  const before = await readHeldOut(trained, { weightType: 'bfloat16' });
  const rows = [];
  for (const [word, known] of [
    ['', new Map()],
    ['yes', importance],
  ])
    for (const [bits, name, round] of kinds) {
      const copy = await copyWith('searched', (matrix, ...of) => round(...of, known.get(matrix)));
      const options = { weightType: 'float32' };
      const texts = await readHeldOut(copy, { ...options, outputType: 'bfloat16' });
      const errors = await layerErrors(copy, options);
      rows.push([bits, name, word, ...errors.map(percent), more(costOf(texts, before))]);
    }
  return table(
    [
      ...['bits', 'group, held as', 'importance', ...layers.map((layer) => `layer ${layer}`)],
      'more than bfloat16',
    ],
    rows,
  );
}
