// What crosses between src/binding/native.ts and native/addon, watched while it crosses: every interface is declared there as the
// addon reads it or makes it.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  loadNative,
  type NativeCall,
  type NativeGroup,
  type NativeGroupOptions,
  type NativeLayer,
  type NativeLayerSpec,
  type NativeParallel,
} from '../../src/binding/native.js';
import type {
  ExpertView,
  LayerWeightViews,
  MatrixView,
  PackedView,
  ScalesView,
  VectorView,
} from '../../src/binding/views.js';
import { weightGroupsOf, weightTypes } from '../../src/binding/weight_formats.js';
import { root } from '../fixtures/command_line.js';
import { Surface, withEachWord, withoutEachField } from '../support/surface.js';

const surface = new Surface('src/binding/native.ts');
const binding = loadNative();
const [experts, hidden, width] = [2, 4, 8];
const folder = mkdtempSync(join(tmpdir(), 'node-moe-'));

const spec: NativeLayerSpec = {
  moe: {
    expertNum: experts,
    capacityFactor: -1,
    auxLossFactor: 0.05,
    numExpertsChosen: 2,
    tokensPerGroup: 0,
    expertCapacity: 0,
    routingPolicy: 'TopkRouterV1',
    scoreFunction: 'softmax',
    topkMethod: 'greedy',
    nGroup: 1,
    topkGroup: 1,
    excludeMaskedGroups: false,
    balanceViaTopkBias: true,
    normTopkProb: true,
    normTopkEpsilon: 0,
    routedScalingFactor: 1,
    enableSdrop: false,
    capacityMultiple: 1,
    auxLosses: [{ factor: 0.1, expertGroups: 1 }],
    zLossFactor: 0,
    sparsemixerEpsilon: 0.01,
    logitSoftCap: 0,
    chooseByLogit: false,
    normTopkSingle: false,
    zeroExpertNum: 0,
    alwaysChosenExpertNum: 0,
    weightOnInput: false,
    sharedExpertScale: 1,
  },
  hiddenSize: hidden,
  intermediateSize: width,
  sharedSize: width,
  latentSize: width,
  activation: { kind: 'swiglu', alpha: 1, limit: Infinity, clamp: 'before' },
  sharedActivation: { kind: 'swiglu_oai', alpha: 1.702, limit: 7, clamp: 'after' },
  weightType: 'float32',
  weightGroup: 0,
  activationType: 'float',
  threads: 1,
  maxQueue: 8,
};

const memory = new Float32Array(64);
const ones = new Float32Array(64).fill(1);
const matrix = (outFeatures: number, inFeatures: number): MatrixView => ({
  source: memory,
  byteOffset: 0,
  dtype: 'float32',
  outFeatures,
  inFeatures,
  outStride: inFeatures,
  inStride: 1,
  importance: ones,
  scales: {
    source: ones,
    byteOffset: 0,
    dtype: 'float32',
    outBlock: outFeatures,
    inBlock: inFeatures,
    outStride: 1,
    inStride: 1,
  },
});
/** With all that integers may have. */
const integers = (outFeatures: number, inFeatures: number): MatrixView => {
  const place = { source: memory, byteOffset: 0 };
  const { scales, ...view } = matrix(outFeatures, inFeatures);
  return {
    ...{ ...view, dtype: 'uint4', packing: 'inputs', firstOut: 1, zero: 8 },
    zeros: { ...place, packing: 'outputs', outStride: 1, inStride: 1, added: 1 },
    scales: {
      ...(scales as ScalesView),
      ...{ outBlock: 1, factor: 2, divisor: 1, offsets: place, name: 'scales' },
      groupOfInput: { ...place, name: 'groups' },
    },
  };
};
const vector = (size: number): VectorView => ({
  source: memory,
  byteOffset: 0,
  dtype: 'float32',
  size,
  stride: 1,
});
const expertOf = (rows: number): ExpertView => ({
  gate: matrix(width, rows),
  up: matrix(width, rows),
  down: matrix(rows, width),
  gateBias: vector(width),
  upBias: vector(width),
  downBias: vector(rows),
});
const [expert, shared] = [expertOf(width), expertOf(hidden)]; // the latent size is the width
const weights: LayerWeightViews = {
  router: matrix(experts, hidden),
  routerBias: vector(experts),
  routerCorrectionBias: vector(experts),
  expertScale: vector(experts),
  experts: [expert, expert],
  latentDown: integers(width, hidden),
  latentUp: matrix(hidden, width),
  shared,
  sharedRouter: matrix(1, hidden),
};
const plainSpec: NativeLayerSpec = { ...spec, latentSize: 0 };
const plain = { experts: [shared, shared], router: matrix(experts, hidden), shared };

const call = (): Required<
  Omit<
    NativeCall,
    'cancellation' | 'routedTokens' | 'routedSquares' | 'intermediateSquares' | 'sharedSquares'
  >
> => ({
  hidden: new Float32Array(hidden),
  dtype: 'float32',
  tokens: 1,
  experts: new Int32Array(2),
  output: new Float32Array(hidden),
  expertIds: new Int32Array(2),
  weights: new Float32Array(2),
  expertLoad: new Uint32Array(experts),
  totals: new Float64Array(4),
});
const groupOptions: NativeGroupOptions = {
  rank: 0,
  size: 1,
  modelParallel: 1,
  led: false,
  timeoutMs: 1000,
  transport: 'gloo',
  address: '127.0.0.1',
};
const create = (spec: unknown, weights: unknown): Promise<NativeLayer> =>
  binding.createLayer('cpu', 0, spec as NativeLayerSpec, weights as LayerWeightViews);

let layer: NativeLayer;
let packed: PackedView;
let group: NativeGroup;

/** Calls all that is declared, with all that may be given. */
beforeAll(async () => {
  const native = surface.watch('NativeBinding', binding);
  await native.call('devices');
  await native.call('measureMachinePeak', 1, 0.01);
  const cancellation = await native.construct('Cancellation');
  layer = (await native.call(
    'createLayer',
    ...(['cpu', 0, spec, weights, () => {}, cancellation, undefined, true] as const),
  )) as NativeLayer;

  const watched = surface.watch('NativeLayer', layer);
  await watched.call('forward', { ...call(), cancellation });
  await watched.call('forwardSync', call());
  await watched.call('forward', {
    ...call(),
    routedTokens: new Float64Array(experts),
    routedSquares: new Float64Array(experts * width),
    intermediateSquares: new Float64Array(experts * width),
    sharedSquares: new Float64Array(width),
  });
  await surface.watch('NativeCancellation', cancellation).call('cancel');

  await native.call('addPluginFolder', folder);
  const path = join(folder, 'packed');
  const { layout, parts } = (await watched.call('packed')) as ReturnType<NativeLayer['packed']>;
  const bytes: Uint8Array[] = [];
  const placed: { name: string; byteOffset: number; byteLength: number }[] = [];
  let byteOffset = 0;
  for (const [index, { name, byteLength }] of parts.entries()) {
    const padded = new Uint8Array(Math.ceil(byteLength / 64) * 64);
    padded.set((await watched.call('readPacked', index, 0, byteLength)) as Uint8Array);
    bytes.push(padded);
    placed.push({ name, byteOffset, byteLength });
    byteOffset += padded.length;
  }
  writeFileSync(path, Buffer.concat(bytes));
  const file = (await native.call('mapFile', path)) as ReturnType<typeof binding.mapFile>;
  await surface.watch('NativeFile', file).call('read', 0, 1);
  packed = { layout, parts: placed.map((part) => ({ ...part, source: file })) };
  const again = await native.call('createLayer', 'cpu', 0, spec, { packed });
  await surface.watch('NativeLayer', again as NativeLayer).call('close');

  group = (await native.construct('Group', groupOptions)) as NativeGroup;
  const joining = surface.watch('NativeGroup', group);
  await joining.call('connect', [group.contact]);
  await joining.call('measure');
  const parallel: Required<NativeParallel> = {
    group,
    expertsOfSet: [new Int32Array([0, 1])],
    chunks: 1,
    groupWise: false,
    facts: 'weightType=float32',
  };
  const shared = (await native.call(
    'createLayer',
    ...(['cpu', 0, spec, weights, undefined, undefined, parallel] as const),
  )) as NativeLayer;
  const onGroup = surface.watch('NativeLayer', shared);
  await onGroup.call('sumOverGroup', new Float64Array(experts));
  await onGroup.call('close');
  await joining.call('close');
  const other = (await native.call('mapFile', path)) as ReturnType<typeof binding.mapFile>;
  await surface.watch('NativeFile', other).call('close');
});

afterAll(async () => {
  await layer.close();
  rmSync(folder, { recursive: true });
});

test('every function is called here, but that which needs another rank, and models, which have a test of their own', () => {
  expect(surface.uncalled()).toEqual(['NativeBinding.createModel', 'NativeLayer.nextCall']);
});

test('what the addon gives is what is declared', () => {
  expect([...surface.given]).toEqual(
    expect.arrayContaining([
      ...[
        'NativeBinding',
        'NativeBackendStatus',
        'NativeDevice',
        'NativeMachinePeak',
        'NativeFile',
      ],
      ...['NativeLayer', 'NativeStageTime', 'NativeCancellation', 'NativeGroup', 'NativeLinkCost'],
    ]),
  );
  expect(surface.differences).toEqual([]);
});

describe('the addon reads what is declared, and nothing else', () => {
  test.each([
    ...['NativeLayerSpec', 'NativeActivation', 'NativeMoEConfig', 'NativeCall'],
    ...['NativeGroupOptions'],
    ...['NativeParallel', 'LayerWeightViews', 'ExpertView', 'MatrixView', 'ScalesView'],
    ...['ZerosView', 'Place', 'NamedPlace', 'VectorView', 'PackedView'],
  ])('%s', (name) => {
    expect([...(surface.read.get(name) ?? [])].sort()).toEqual(surface.fieldsOf(name));
  });

  test('and no other interface', () => {
    for (const [name, read] of surface.read)
      expect([...read].sort(), name).toEqual(surface.fieldsOf(name));
  });
});

describe('the addon needs what is not optional, and nothing else', () => {
  const small = { hidden: new Float32Array(hidden), dtype: 'float32', tokens: 1 };

  test('of a layer', async () => {
    await (await create(plainSpec, plain)).close();
    const left = withoutEachField(surface, 'NativeLayerSpec', plainSpec);
    expect(left.length).toBeGreaterThan(25);
    for (const { path, value } of left)
      await expect(async () => create(value, plain), path).rejects.toThrow();
  });

  test('of weights', async () => {
    for (const { path, value } of withoutEachField(surface, 'LayerWeightViews', plain))
      await expect(async () => create(plainSpec, value), path).rejects.toThrow();
    for (const { path, value } of withoutEachField(surface, 'PackedView', packed))
      await expect(async () => create(spec, { packed: value }), path).rejects.toThrow();
  });

  test('of a call', async () => {
    await layer.forward(small as NativeCall);
    for (const { path, value } of withoutEachField(surface, 'NativeCall', small))
      expect(() => layer.forward(value as NativeCall), path).toThrow();
  });

  test('of a group', () => {
    for (const { path, value } of withoutEachField(surface, 'NativeGroupOptions', groupOptions))
      expect(() => new binding.Group(value as NativeGroupOptions), path).toThrow();
  });
});

test('the addon knows every word that is declared', async () => {
  const cases = withEachWord(surface, 'NativeLayerSpec', plainSpec);
  expect(cases.length).toBeGreaterThan(15);
  const words: [string, () => unknown][] = [
    ...cases.map(({ path, value }): [string, () => unknown] => [path, () => create(value, plain)]),
    ...withEachWord(surface, 'LayerWeightViews', plain).map(
      ({ path, value }): [string, () => unknown] => [path, () => create(plainSpec, value)],
    ),
    ...withEachWord(surface, 'NativeCall', call()).map(
      ({ path, value }): [string, () => unknown] => [
        path,
        () => layer.forward(value as NativeCall),
      ],
    ),
  ];
  for (const [path, made] of words) {
    const outcome = await Promise.resolve()
      .then(made)
      .catch((error: Error) => error.message);
    expect(String(outcome), path).not.toContain('known words');
  }
});

test('the formats of weights that are declared are those of the addon, all of which the CPU holds', () => {
  const cpu = binding.devices().find(({ name }) => name === 'cpu');
  const held = cpu?.devices[0]?.weights.map(({ type, groups }) => [
    type,
    groups.map((group) => group || 'all'),
  ]);
  expect(held).toEqual(weightTypes.map((type) => [type, weightGroupsOf(type)]));
});

test('every word that the addon knows is declared', () => {
  const declared = ['src/binding/native.ts', 'src/binding/views.ts']
    .map((file) => readFileSync(join(root, file), 'utf8'))
    .join('\n');
  const source = [
    ...['arguments.cc', 'quantised_arguments.cc'],
    ...['create_job.cc', 'group_object.cc', 'forward_job.cc'],
  ]
    .map((file) => readFileSync(join(root, 'native/addon', file), 'utf8'))
    .join('\n');
  const known = [...source.matchAll(/\{"(\w+)",\s*(?:\w+::k\w+|true|false)\}/g)].map(
    ([, word]) => word,
  );
  expect(known.length).toBeGreaterThan(20);
  expect(known.filter((word) => !declared.includes(`'${word}'`))).toEqual([]);
});
