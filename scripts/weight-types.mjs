// Measures what each type of weights costs in exactness, and puts the tables into docs/weight-types.md.
import { readFileSync, writeFileSync } from 'node:fs';
import { SafetensorsFile } from '../dist/checkpoint/containers/file.js';
import { MoELayer } from '../dist/index.js';

const tiny = 'test/data/tiny-mixtral';
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
];
const bits = { bfloat16: 16, float16: 16, int8: 8, int4: 4 };

/** |a - b| / |b|, as vectors. */
function relativeError(a, b) {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Error of the output in every type, with the layer in float32 as the truth. */
async function errorsOf(make, hidden) {
  const outputOf = async (options) => {
    const layer = await make(options);
    const { output } = await layer.forward(hidden);
    await layer.close();
    return output;
  };
  const exact = await outputOf({ weightType: 'float32' });
  const errors = [];
  for (const [weightType, weightGroup, activationType] of held)
    errors.push(relativeError(await outputOf({ weightType, weightGroup, activationType }), exact));
  return errors;
}

async function tinyErrors() {
  const recorded = await SafetensorsFile.open(`${tiny}/activations.safetensors`);
  const columns = [];
  for (const layer of [0, 1, 2, 3]) {
    const { data } = await recorded.readTensor(`layers.${layer}.input`);
    columns.push(await errorsOf((options) => MoELayer.load(tiny, { layer, ...options }), data));
  }
  return columns;
}

/** Normally distributed, always the same. */
function gaussian(count, deviation, seed) {
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => deviation * Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** `relu`: two plain products, so that the error of one product shows; `swiglu`: the layer as models have it. */
async function gaussianErrors(activation, H, I) {
  const E = 4;
  const tensor = (shape, seed) => {
    const count = shape.reduce((a, b) => a * b);
    return { dtype: 'float32', shape, data: gaussian(count, 1 / Math.sqrt(shape.at(-1)), seed) };
  };
  const weights = {
    router: tensor([E, H], 1),
    up: tensor([E, I, H], 2),
    down: tensor([E, H, I], 3),
    ...(activation === 'swiglu' && { gate: tensor([E, I, H], 4) }),
  };
  const config = {
    expertNum: E,
    numExpertsChosen: 2,
    routingPolicy: 'TopkRouterV2',
    capacityFactor: -1,
  };
  const make = (options) =>
    MoELayer.create({
      config,
      hiddenSize: H,
      intermediateSize: I,
      activation,
      weights,
      ...options,
    });
  return errorsOf(make, gaussian(64 * H, 1, 5));
}

const columns = [
  ...(await tinyErrors()),
  await gaussianErrors('relu', 1024, 512),
  await gaussianErrors('swiglu', 1024, 512),
  await gaussianErrors('swiglu', 2048, 1024),
];
const titles = [
  ...[0, 1, 2, 3].map((layer) => `tiny-mixtral, layer ${layer}`),
  'Gaussian, `relu`, H 1024, I 512',
  'Gaussian, `swiglu`, H 1024, I 512',
  'Gaussian, `swiglu`, H 2048, I 1024',
];
const row = (cells) => `| ${cells.join(' | ')} |`;
const percent = (part) => (part < 1e-5 ? '< 0.001 %' : `${(part * 100).toPrecision(2)} %`);
const table = [
  row(['weights', 'group', 'rows', 'bits', ...titles]),
  row(Array(titles.length + 4).fill('---')),
  ...held.map(([type, group, products = 'float'], i) =>
    row([
      type,
      group ?? '',
      products,
      bits[type] + (group === undefined ? 0 : 16 / (group === 'all' ? 128 : group)),
      ...columns.map((column) => percent(column[i])),
    ]),
  ),
].join('\n');

const path = new URL('../docs/weight-types.md', import.meta.url);
const marked = /(<!-- measured -->\n)[\s\S]*?(\n<!-- end -->)/;
const page = readFileSync(path, 'utf8');
if (!marked.test(page)) throw new Error('docs/weight-types.md has no place for the table');
writeFileSync(path, page.replace(marked, `$1\n${table}\n$2`));
console.log('wrote docs/weight-types.md');
