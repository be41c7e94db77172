// Whatever option a layer has: spread over ranks it computes the same bits, and ranks that say different things are told so.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Kind, Row } from '../../src/base/rows.js';
import { type FieldName, fieldNames, fieldRows } from '../../src/config/fields.js';
import { toNativeConfig } from '../../src/config/native.js';
import { type LayerOptions, type MoEConfigOptions, MoELayer } from '../../src/index.js';
import { factsOf } from '../../src/layer/facts.js';
import { heldRows, layerRows, ofRank } from '../../src/layer/options.js';
import { nativeSpec, partsOf } from '../../src/layer/parts.js';
import { activations, nodeMoe, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { float32Tensor, randomValues, smallLayer } from '../support/layers.js';
import { Ranks } from '../support/ranks.js';

const H = 32;

/** Values that a row's kind names by itself; undefined where it does not. */
function valuesOf(kind: Kind): readonly unknown[] | undefined {
  if (kind.is === 'boolean') return [true, false];
  if (kind.is === 'choice') return kind.of;
  return undefined;
}

type Case = [text: string, options: LayerOptions];

const isQuantized = { weightType: 'int8' } as const;

/** What an option needs beside it. */
const beside: Partial<Record<keyof LayerOptions, Partial<LayerOptions>>> = {
  weightGroup: isQuantized,
  activationType: isQuantized,
};

/** Values of options whose kinds name none. */
const values: Partial<Record<keyof LayerOptions, readonly unknown[]>> = {
  device: ['cpu'],
  threads: [1, 3],
  maxQueue: [1],
  hiddenSize: [H],
  intermediateSize: [24],
  placement: [
    {
      expertsOfRank: [
        [0, 5, 2],
        [1, 3, 4, 5, 6, 7],
      ],
    },
  ],
};

const notByItself: readonly string[] = ['config', 'weights', 'group'];

const ungated = (options: LayerOptions): LayerOptions => {
  const { gate, ...weights } = options.weights;
  return { ...options, weights };
};

const optionCases: Case[] = Object.entries<Row>(layerRows)
  .filter(([name]) => !notByItself.includes(name))
  .flatMap(([name, { kind }]) => {
    const option = name as keyof LayerOptions;
    const given = valuesOf(kind) ?? values[option];
    if (given === undefined) throw new Error(`Expected values of \`${name}\` here, got none`);
    return given.map((value): Case => {
      const options = { ...smallLayer(), ...beside[option], [name]: value };
      const plain = ['gelu', 'gelu_tanh', 'relu', 'silu'].includes(options.activation ?? 'swiglu');
      return [`${name} ${JSON.stringify(value)}`, plain ? ungated(options) : options];
    });
  });

const capped: MoEConfigOptions = { capacityFactor: 1 };
const grouped: MoEConfigOptions = { topkMethod: 'noaux_tc', nGroup: 4, topkGroup: 2 };
const dense: MoEConfigOptions = { sharedExpertNum: 0.5 };
const losses: MoEConfigOptions = {
  auxLossTypes: ['expert', 'comm', 'device'],
  auxLossFactors: [0.01, 0.02, 0.03],
  expertGroupSize: 4,
};
const mixer: MoEConfigOptions = { scoreFunction: 'sparsemixer', normTopkProb: false };
const first: MoEConfigOptions = { routingPolicy: 'TopkRouterV1', capacityFactor: 1 };

/** Each field, in a config where it counts. */
const fieldCases: Record<FieldName, readonly MoEConfigOptions[]> = {
  expertNum: [{ expertNum: 8 }],
  capacityFactor: [{ capacityFactor: 0.5 }, { capacityFactor: -1 }],
  auxLossFactor: [{ ...first, auxLossFactor: 0.5 }],
  numExpertsChosen: [{ numExpertsChosen: 1 }, { numExpertsChosen: 5 }],
  expertGroupSize: [{ ...capped, expertGroupSize: 4 }],
  groupWiseA2a: [{ groupWiseA2a: true }],
  compCommParallel: [{ compCommParallel: true }],
  compCommParallelDegree: [{ ...capped, compCommParallel: true, compCommParallelDegree: 3 }],
  routingPolicy: [first, { routingPolicy: 'TopkRouterV2' }],
  useGatingSigmoid: [{ useGatingSigmoid: true }],
  topkMethod: [
    grouped,
    { ...grouped, topkMethod: 'group_limited_greedy' },
    { topkMethod: 'greedy' },
  ],
  nGroup: [{ ...grouped, nGroup: 2, topkGroup: 1 }],
  topkGroup: [{ ...grouped, topkGroup: 3 }],
  excludeMaskedGroups: [{ ...grouped, excludeMaskedGroups: true }],
  balanceViaTopkBias: [{ balanceViaTopkBias: true }],
  normTopkProb: [{ normTopkProb: false }],
  normTopkEpsilon: [{ normTopkEpsilon: 0.5 }],
  routedScalingFactor: [{ routedScalingFactor: 2.5 }],
  enableSdrop: [{ ...capped, enableSdrop: true }],
  sharedExpertNum: [dense],
  useSharedExpertGating: [{ ...dense, useSharedExpertGating: true }],
  moeIntermediateSize: [{ moeIntermediateSize: 24 }],
  auxLossTypes: [losses],
  auxLossFactors: [{ ...losses, auxLossFactors: [0.3, 0, 0.1] }],
  zLossFactor: [{ zLossFactor: 0.1 }],
  scoreFunction: [{ scoreFunction: 'sqrtsoftplus' }, mixer],
  sparsemixerEpsilon: [{ ...mixer, sparsemixerEpsilon: 0.3 }],
  logitSoftCap: [{ logitSoftCap: 0.2 }],
  chooseByLogit: [{ chooseByLogit: true, useGatingSigmoid: true }],
  normTopkSingle: [{ normTopkSingle: true, numExpertsChosen: 1 }],
  zeroExpertNum: [
    { zeroExpertNum: 3, numExpertsChosen: 4 },
    { ...dense, zeroExpertNum: 1 },
  ],
  alwaysChosenExpertNum: [{ alwaysChosenExpertNum: 1 }],
  weightOnInput: [
    { weightOnInput: true },
    { ...dense, weightOnInput: true, zeroExpertNum: 2, compCommParallel: true },
    { ...capped, weightOnInput: true, numExpertsChosen: 3 },
  ],
  sharedExpertScale: [{ ...dense, sharedExpertScale: 0.3 }],
  expertCapacity: [{ expertCapacity: 2 }],
};

/** A small layer with the weights that its config asks for. */
function layerWith(config: MoEConfigOptions): LayerOptions {
  const options = smallLayer({ config });
  const rows = 8 + (config.zeroExpertNum ?? 0);
  const tensor = (seed: number, ...shape: number[]) =>
    float32Tensor(
      randomValues(
        shape.reduce((a, b) => a * b),
        seed,
        0.2,
      ),
      shape,
    );
  const S = 12;
  const shared = {
    ...{ gate: tensor(1, S, H), up: tensor(2, S, H), down: tensor(3, H, S) },
    ...(config.useSharedExpertGating && { router: tensor(4, 1, H) }),
  };
  return {
    ...options,
    weights: {
      ...options.weights,
      ...(config.sharedExpertNum && { shared }),
      ...(config.balanceViaTopkBias && { routerCorrectionBias: tensor(5, 8) }),
      ...(rows > 8 && { router: tensor(6, rows, H) }),
      ...(config.logitSoftCap && { expertScale: tensor(7, 8) }),
    },
  };
}

const configCases: Case[] = Object.entries(fieldCases).flatMap(([name, configs]) =>
  configs.map((config): Case => [`${name} ${JSON.stringify(config)}`, layerWith(config)]),
);

test('two ranks compute what one computes, whatever the option', async () => {
  await using ranks = new Ranks(2);
  await ranks.join();
  const batches = [randomValues(H * 9, 1), randomValues(H * 4, 2)];
  for (const [text, options] of [...optionCases, ...configCases]) {
    await ranks.tell('create', () => options);
    const results = await ranks.forward((rank) => batches[rank] as Float32Array);
    const { placement, unevenExperts, ...plain } = options;
    await using layer = await MoELayer.create(plain);
    for (const [rank, hidden] of batches.entries()) {
      const alone = await layer.forward(hidden);
      const { auxLoss, ...spread } = results[rank] as typeof alone;
      const { auxLoss: ownLoss, ...expected } = alone;
      expect(spread, text).toEqual(expected);
      // The loss `comm` is over the experts of each rank: another number, by what it means.
      if (!text.includes('comm"')) expect(auxLoss, text).toBe(ownLoss);
    }
    await ranks.tell('closeLayer');
  }
});

/** Lines of what ranks compare, for a layer of this rank. */
function linesOf(options: LayerOptions): string[] {
  const parts = partsOf(options);
  const spec = nativeSpec(toNativeConfig(parts.config), parts, { backend: 'cpu', index: 0 });
  const placement = (options.placement?.expertsOfRank ?? []).map((list) => Int32Array.from(list));
  return factsOf(parts.config, spec, placement).split('\n');
}

/** Names of what differs. */
function differences(a: LayerOptions, b: LayerOptions): string[] {
  const theirs = linesOf(b);
  return linesOf(a)
    .filter((line, index) => line !== theirs[index])
    .map((line) => line.slice(0, line.indexOf('=')));
}

describe('what ranks compare', () => {
  test.each(fieldNames)('has the field %s', (name) => {
    const [config] = fieldCases[name].filter(
      (candidate) => (candidate[name] ?? fieldRows[name].default) !== fieldRows[name].default,
    );
    if (name === 'expertNum') return expect(linesOf(smallLayer())).toContain('expertNum=8');
    const written = JSON.stringify(config?.[name]);
    expect(written).toBeDefined();
    expect(linesOf(layerWith(config ?? {}))).toContain(`${name}=${written}`);
  });

  const notCompared: readonly string[] = [...ofRank, 'group', 'unevenExperts'];
  const held = Object.entries<Row>(heldRows).filter(([name]) => !notCompared.includes(name));
  test.each(held)('has the option %s', (name, { kind }) => {
    const option = name as keyof LayerOptions;
    const [value] = (valuesOf(kind) ?? values[option] ?? []).slice(-1);
    const options = { ...smallLayer(), ...beside[option] };
    expect(differences(options, { ...options, [name]: value })).toContain(name);
  });

  test.each(ofRank)('has nothing of %s, which a rank has for itself', (name) => {
    expect(linesOf(smallLayer()).join('\n')).not.toContain(name);
  });
});

test('ranks that describe different layers are told what differs', async () => {
  const int8 = { ...smallLayer(), weightType: 'int8', activationType: 'int8' } as const;
  const scaled = { ...int8, config: { ...int8.config, routedScalingFactor: 2 } };
  const pairs: [string, LayerOptions, LayerOptions][] = [
    [
      '`activationType` is `"int8"` on rank 0, `"float"` on rank 1',
      int8,
      { ...int8, activationType: 'float' },
    ],
    ['`routedScalingFactor` is `2` on rank 0, `1` on rank 1', scaled, int8],
  ];
  for (const [said, ...options] of pairs) {
    await using ranks = new Ranks(2);
    await ranks.join();
    const created = await Promise.allSettled(
      ranks.all.map((rank, index) => rank.tell('create', options[index])),
    );
    expect(created[1]).toMatchObject({ status: 'rejected', reason: { code: 'ERR_MOE_CONFIG' } });
    expect(String((created[1] as PromiseRejectedResult).reason.message)).toContain(said);
    expect(created[0]?.status).toBe('rejected');
  }
});

describe('the command line', () => {
  const cases = [
    ['--weight-type', 'int8', '--activation-type', 'int8', '--weight-group', '64'],
    ['--weight-type', 'bfloat16', '--threads', '1', '--uneven-experts', '--device', 'cpu'],
    ['--set', 'routing_policy=TopkRouterV1', '--set', 'capacity_factor=1'],
  ];

  test('has every flag in one of these', () => {
    const flags = Object.values<Row>(heldRows).filter(({ flag }) => flag !== undefined);
    const given = new Set(cases.flat().filter((word) => word.startsWith('--')));
    given.delete('--set');
    expect(given.size).toBe(flags.length);
  });

  test.each(cases)('computes the same on two ranks: %s %s %s %s', async (...flags) => {
    const folder = await temporaryFolder();
    const run = async (name: string, ...ranks: string[]) => {
      const output = join(folder, name);
      const command = ['run', tinyMixtral, '--layer', '0', '--input', activations];
      const finished = await nodeMoe([...command, ...flags, ...ranks, '--output', output]);
      expect(finished).toMatchObject({ code: 0, stderr: '' });
      return readFile(output);
    };
    expect((await run('spread', '--ranks', '2')).equals(await run('alone'))).toBe(true);
  });

  test('benches integers on two ranks', async () => {
    const shape = ['--hidden', '64', '--intermediate', '64', '--experts', '4', '--top-k', '2'];
    const integers = ['--weight-type', 'int8', '--weight-group', '64', '--activation-type', 'int8'];
    const time = ['--tokens', '3', '--seconds', '0.05', '--event-loop', '0'];
    const { code, stderr } = await nodeMoe([
      'bench',
      '--ranks',
      '2',
      ...shape,
      ...integers,
      ...time,
    ]);
    expect([code, stderr]).toEqual([0, '']);
  });
});
