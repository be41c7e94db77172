// The table of the types that files are published in.
import { recording } from './calibrated.mjs';
import { gaussianErrors, gaussianShapes, titleOf } from './gaussian.mjs';
import { importanceOf } from './importance.mjs';
import { layerErrors, readHeldOut } from './measures.mjs';
import { more, percent, table } from './page.mjs';
import { ggml, publishedTypes } from './published.mjs';
import { bitsPerByte, costOf } from './statistics.mjs';
import { copyWith, layers, matrices, recordedInputs, trained } from './trained.mjs';

const options = { weightType: 'float32' };
const read = (path) => readHeldOut(path, { ...options, outputType: 'bfloat16' });

export async function publishedTable() {
  const program = await ggml();
  const importance = await importanceOf(await matrices(), await recordedInputs(recording()));
  const before = await readHeldOut(trained, { weightType: 'bfloat16' });
  const shape = gaussianShapes[1];
  const rows = [];
  for (const { name, title, bits, weighted, round: using } of publishedTypes) {
    const round = using(program);
    const plain = await copyWith(name, (_, ...matrix) => round(...matrix));
    const texts = await read(plain);
    const calibrated =
      weighted && (await copyWith(name, (matrix, ...of) => round(...of, importance.get(matrix))));
    const errors = [
      ...(await layerErrors(plain, options)),
      ...(await gaussianErrors(shape, [{ options, round }])),
    ];
    rows.push([
      ...[title, Number(bits.toFixed(3)), ...errors.map(percent)],
      ...texts.map((text) => bitsPerByte(text).toFixed(4)),
      more(costOf(texts, before)),
      calibrated ? more(costOf(await read(calibrated), before)) : '',
    ]);
  }
  return table(
    [
      ...['weights', 'bits', ...layers.map((layer) => `layer ${layer}`), titleOf(shape)],
      ...['Bible', 'Python', 'more than bfloat16', 'more, calibrated'],
    ],
    rows,
  );
}
