// Tables of the package's own types: errors of layers, and bits per byte of the whole trained model.
import { packedInt4 } from './calibrated.mjs';
import { gaussianErrors, gaussianShapes, titleOf } from './gaussian.mjs';
import { layerErrors, readHeldOut } from './measures.mjs';
import { more, percent, table } from './page.mjs';
import { bitsPerByte, costOf } from './statistics.mjs';
import { layers, trained } from './trained.mjs';

const held = [
  ['bfloat16'],
  ['float16'],
  ['int8', 32],
  ['int8', 64],
  ['int8', 128],
  ['int8', 'all'],
  ['int4', 32],
  ['int4', 64],
  ['int4', 128],
  ['bfloat16', undefined, 'bfloat16'],
  ['int8', 32, 'bfloat16'],
  ['int4', 32, 'bfloat16'],
  ['int8', 32, 'int8'],
  ['int8', 128, 'int8'],
  ['int4', 32, 'int8'],
  ['int4', 128, 'int8'],
].map(([weightType, weightGroup, activationType]) => ({
  weightType,
  weightGroup,
  activationType,
}));

const bits = { bfloat16: 16, float16: 16, int8: 8, int4: 4 };
const titles = ['weights', 'group', 'rows', 'bits'];
const cellsOf = ({ weightType, weightGroup, activationType = 'float' }) => [
  ...[weightType, weightGroup ?? '', activationType],
  bits[weightType] +
    (weightGroup === undefined ? 0 : 16 / (weightGroup === 'all' ? 128 : weightGroup)),
];

export async function layersTable() {
  const gaussians = [];
  for (const shape of gaussianShapes)
    gaussians.push(
      await gaussianErrors(
        shape,
        held.map((options) => ({ options })),
      ),
    );
  const rows = [];
  for (const [i, options] of held.entries()) {
    const errors = await layerErrors(trained, options);
    const others = gaussians.map((column) => column[i]);
    rows.push([...cellsOf(options), ...[...errors, ...others].map(percent)]);
  }
  for (const weightGroup of [32, 64, 128]) {
    const [, ...cells] = cellsOf({ weightType: 'int4', weightGroup });
    const errors = await layerErrors(packedInt4({ weightGroup }));
    const others = gaussians.map(() => '');
    rows.push(['int4, calibrated', ...cells, ...errors.map(percent), ...others]);
  }
  return table(
    [
      ...titles,
      ...layers.map((layer) => `tiny-mixtral, layer ${layer}`),
      ...gaussianShapes.map(titleOf),
    ],
    rows,
  );
}

export async function textTable() {
  const outputType = 'bfloat16';
  const before = await readHeldOut(trained, { weightType: 'bfloat16' });
  const rows = [];
  for (const options of held) {
    const texts = await readHeldOut(trained, { ...options, outputType });
    const calibrated =
      options.weightType === 'int4' && more(costOf(await readHeldOut(packedInt4(options)), before));
    rows.push([
      ...cellsOf(options),
      ...texts.map((text) => bitsPerByte(text).toFixed(4)),
      more(costOf(texts, before)),
      calibrated || '',
    ]);
  }
  return table([...titles, 'Bible', 'Python', 'more than bfloat16', 'more, calibrated'], rows);
}
