// Every public function, with every option and argument of every wrong kind: one of this package's errors, and nothing else.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectKind, type Row } from '../../src/base/rows.js';
import { fieldNames, fieldRows } from '../../src/config/fields.js';
import { groupRows } from '../../src/group/options.js';
import { placementRows } from '../../src/group/placement.js';
import * as api from '../../src/index.js';
import {
  ExpertGroup,
  MoECheckpoint,
  MoEConfig,
  MoEError,
  MoELayer,
  MoEModel,
  planPlacement,
} from '../../src/index.js';
import { forwardRows, routeRows } from '../../src/layer/forward.js';
import { layerRows, loadRows } from '../../src/layer/options.js';
import { generateRows, scoreRows } from '../../src/model/generate_options.js';
import { modelLoadRows } from '../../src/model/options.js';
import { tinyMixtral } from '../fixtures/command_line.js';
import { randomValues, smallLayer } from '../support/layers.js';

const values: Readonly<Record<string, unknown>> = {
  undefined,
  null: null,
  boolean: true,
  number: 5,
  'no whole number': 5.5,
  'less than nothing': -1,
  NaN: Number.NaN,
  string: 'wrong',
  'empty string': '',
  array: [],
  'array of symbols': [Symbol('inside')],
  function: () => {},
  class: class {},
  symbol: Symbol('wrong'),
  bigint: 5n,
  'object with an unknown key': { unknownKey: 1 },
  'object without a prototype': Object.assign(Object.create(null), { unknownKey: 1 }),
  'Proxy of an array': new Proxy([], {}),
  'Proxy of a typed array': new Proxy(new Float32Array(32), {}),
  'Proxy of a function': new Proxy(() => {}, {}),
  'Proxy of an object': new Proxy({ unknownKey: 1 }, {}),
};
const names = Object.keys(values);
const missing = 'undefined';

let layer: MoELayer;
let closed: MoELayer;
let checkpoint: MoECheckpoint;
let model: MoEModel;

beforeAll(async () => {
  layer = await MoELayer.create(smallLayer());
  closed = await MoELayer.create(smallLayer());
  await closed.close();
  checkpoint = await MoECheckpoint.open(tinyMixtral);
  model = await MoEModel.load(tinyMixtral);
});
afterAll(async () => {
  await layer.close();
  await checkpoint.close();
  await model.close();
});

type Call = (value: never) => unknown;

/** Calls that settle, however they are called, and calls that throw. */
async function expectRefused(call: Call, value: unknown, rejects: boolean): Promise<void> {
  let pending: unknown;
  try {
    pending = call(value as never);
    if (!rejects) throw new Error('Expected an error, got none');
  } catch (error) {
    expect(error).toBeInstanceOf(MoEError);
    expect(rejects, 'threw where it should reject').toBe(false);
    return;
  }
  const error = await Promise.resolve(pending).then(
    () => new Error('Expected an error, got none'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(MoEError);
  expect((error as MoEError).code).toMatch(/^ERR_MOE_/);
}

const hidden = randomValues(32 * 3, 1);
const E = 8;

/** Functions with options: their rows, options that are right, and the call. */
const withOptions: [
  name: string,
  rows: Record<string, Row>,
  base: object,
  Call,
  rejects: boolean,
][] = [
  ['MoELayer.create', layerRows, smallLayer(), (o) => MoELayer.create(o), true],
  ['MoELayer.load', loadRows, { layer: 0 }, (o) => MoELayer.load(tinyMixtral, o), true],
  ['checkpoint.load', loadRows, { layer: 0 }, (o) => checkpoint.load(undefined, o), true],
  ['layer.forward', forwardRows, {}, (o) => layer.forward(hidden, o), true],
  ['layer.forwardSync', forwardRows, {}, (o) => layer.forwardSync(hidden, o), false],
  ['layer.route', routeRows, {}, (o) => layer.route(hidden, o), true],
  ['MoEModel.load', modelLoadRows, {}, (o) => MoEModel.load(tinyMixtral, o), true],
  ['model.generate', generateRows, { prompt: 'a' }, (o) => model.generate(o), false],
  ['model.logits', scoreRows, {}, (o) => model.logits([1], o), true],
  ['model.logprobs', scoreRows, {}, (o) => model.logprobs([1], o), true],
  ['model.logits', scoreRows, {}, (o) => model.logits([1, 2], o), true],
  ['model.logprobs', scoreRows, {}, (o) => model.logprobs([1, 2], o), true],
  ['model.complete', generateRows, { prompt: 'a' }, (o) => model.complete(o), true],
  [
    'ExpertGroup.join',
    groupRows,
    { rank: 0, size: 1, store: 'tcp://127.0.0.1:1', timeoutMs: 1 },
    (o) => ExpertGroup.join(o),
    true,
  ],
  [
    'planPlacement',
    placementRows,
    { ranks: 2 },
    (o) => planPlacement(new Float64Array(E).fill(1), o),
    false,
  ],
  ...(
    [
      ['new MoEConfig', (o) => new MoEConfig(o)],
      ['MoEConfig.parse', (o) => MoEConfig.parse(o)],
      ['config.with', (o) => new MoEConfig().with(o)],
    ] as [string, Call][]
  ).map(([name, call]): (typeof withOptions)[number] => [
    name,
    Object.fromEntries(fieldNames.map((field) => [field, { kind: fieldRows[field].kind }])),
    {},
    call,
    false,
  ]),
];

/** Values that an option of these names does take, where its kind is no data. */
const rightFor: Readonly<Record<string, readonly string[]>> = {
  onProgress: ['function', 'class', 'Proxy of a function'],
  address: ['string'],
  activationLimit: ['null', 'number', 'no whole number'],
  sharedActivationLimit: ['null', 'number', 'no whole number'],
  prompt: ['string', 'empty string'],
  stop: ['string', 'array', 'Proxy of an array'],
  stopTokens: ['array', 'Proxy of an array'],
  seed: ['number', 'bigint'],
  logitBias: ['Proxy of a typed array'],
};

function isRight(option: string, { kind, required }: Row, name: string): boolean {
  if (name === missing) return required !== true;
  if (fieldRows[option as keyof typeof fieldRows]?.orNull && name === 'null') return true;
  if (kind.is === 'other') return rightFor[option]?.includes(name) ?? false;
  try {
    expectKind(option, values[name], kind);
    return true;
  } catch {
    return false;
  }
}

describe.each(withOptions)('%s', (_, rows, base, call, rejects) => {
  const cases = Object.entries(rows).flatMap(([option, row]) =>
    names.filter((name) => !isRight(option, row, name)).map((name) => [option, name] as const),
  );

  test('has options', () => expect(cases.length).toBeGreaterThanOrEqual(names.length - 1));

  test.each(cases)('refuses `%s`: %s', async (option, name) => {
    await expectRefused(call, { ...base, [option]: values[name] }, rejects);
  });

  test.each(names.filter((name) => name !== missing))(
    'refuses for its options: %s',
    async (name) => {
      await expectRefused(call, values[name], rejects);
    },
  );
});

/** Arguments that are no options; the values that are right. */
const withArguments: [name: string, Call, rejects: boolean, right: readonly string[]][] = [
  [
    'new MoEConfig with notes',
    (v) => new MoEConfig({}, v),
    false,
    [missing, 'array', 'Proxy of an array'],
  ],
  ['MoEConfig.fromHuggingFace', (v) => MoEConfig.fromHuggingFace(v), false, []],
  ['MoECheckpoint.open', (v) => MoECheckpoint.open(v), true, []],
  ['MoELayer.load of a path', (v) => MoELayer.load(v), true, []],
  ['MoEModel.load of a path', (v) => MoEModel.load(v), true, []],
  ['model.logits of a text', (v) => model.logits(v), true, ['array', 'Proxy of an array']],
  ['model.logprobs of a text', (v) => model.logprobs(v), true, ['array', 'Proxy of an array']],
  ['model.applyTemplate', (v) => model.applyTemplate(v), true, []],
  ['checkpoint.load of a number', (v) => checkpoint.load(v), true, []],
  ['layer.forward', (v) => layer.forward(v), true, []],
  ['layer.forwardSync', (v) => layer.forwardSync(v), false, []],
  ['layer.route', (v) => layer.route(v), true, []],
  ...(['dtype', 'shape', 'data'] as const).flatMap((name): typeof withArguments => {
    const tensor = { dtype: 'float32', shape: [3, 32], data: hidden };
    return [
      [
        `layer.forward of a tensor's ${name}`,
        (v) => layer.forward({ ...tensor, [name]: v } as never),
        true,
        [],
      ],
      [
        `MoELayer.create of a tensor's ${name}`,
        (v) => {
          const options = smallLayer();
          const up = { ...options.weights.up, [name]: v };
          return MoELayer.create({ ...options, weights: { ...options.weights, up } });
        },
        true,
        [],
      ],
    ];
  }),
  [
    'a size of a tensor',
    (v) => layer.forward({ dtype: 'float32', shape: [v, 32], data: hidden }),
    true,
    [],
  ],
  ...(
    ['router', 'gate', 'up', 'down', 'routerBias', 'expertScale', 'expertTable', 'shared'] as const
  ).map((name): (typeof withArguments)[number] => [
    `MoELayer.create of weights.${name}`,
    (v) => {
      const options = smallLayer();
      return MoELayer.create({ ...options, weights: { ...options.weights, [name]: v } });
    },
    true,
    ['router', 'gate', 'up', 'down'].includes(name) ? [] : [missing],
  ]),
  ['planPlacement', (v) => planPlacement(v, { ranks: 1 }), false, []],
  [
    'planPlacement of one number',
    (v) => planPlacement([v], { ranks: 1 }),
    false,
    ['number', 'no whole number'],
  ],
  [
    'placement.expertsOfRank',
    (v) => planPlacement([1, 1], { ranks: 1, current: { expertsOfRank: v } }),
    false,
    [],
  ],
  ...[MoELayer, MoECheckpoint, ExpertGroup, MoEModel].map(
    (Class): (typeof withArguments)[number] => [
      `new ${Class.name}`,
      (v) => new (Class as unknown as new (value: unknown) => unknown)(v),
      false,
      [],
    ],
  ),
];

describe.each(withArguments)('%s', (_, call, rejects, right) => {
  test.each(names.filter((name) => !right.includes(name)))('refuses %s', async (name) => {
    await expectRefused(call, values[name], rejects);
  });
});

test('every class and function that is exported has its turn', () => {
  const tried = [...withOptions, ...withArguments].map(([name]) => name).join(' ');
  const exported = Object.entries(api).filter(
    ([name, value]) => typeof value === 'function' && !/Error$/.test(name) && value.length > 0,
  );
  for (const [name] of exported) expect(tried).toContain(name);
});

test.each<[string, (closed: MoELayer) => unknown]>([
  ['forward', (closed) => closed.forward(hidden)],
  ['route', (closed) => closed.route(hidden)],
  ['totalLoad', (closed) => closed.totalLoad()],
])('%s of a closed layer is refused', async (_, call) => {
  await expect(call(closed)).rejects.toMatchObject({ code: 'ERR_MOE_CLOSED' });
});

test('one signal may be given to many calls at once, and stops them all', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  const controller = new AbortController();
  const { signal } = controller;
  await Promise.all(Array.from({ length: 40 }, () => layer.forward(hidden, { signal })));
  const long = randomValues(32 * 20_000, 1);
  const stopped = Array.from({ length: 40 }, () => layer.forward(long, { signal }));
  controller.abort(new Error('enough'));
  const outcomes = await Promise.allSettled(stopped);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
  const rejected = outcomes.filter(({ status }) => status === 'rejected');
  expect(rejected.length).toBeGreaterThan(20);
  for (const { reason } of rejected as PromiseRejectedResult[]) expect(reason).toBe(signal.reason);
});
