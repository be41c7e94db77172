// Choices that come from outside: as arrays, or out of a table by token id.
import { describe, expect, test } from 'vitest';
import {
  type ForwardOptions,
  type LayerOptions,
  type MoEConfigOptions,
  MoELayer,
} from '../../src/index.js';
import { layerReference, relativeError } from '../reference/layer.js';
import { generator, randomValues, smallLayer } from '../support/layers.js';
import { failureOf, Ranks } from '../support/ranks.js';

const [E, K, H] = [8, 3, 32];
const next = generator(7);
const choices = (tokens: number) =>
  Int32Array.from({ length: tokens * K }, () => Math.floor(next() * E));
const layerOf = (config: MoEConfigOptions = {}, weights: object = {}): LayerOptions => {
  const options = smallLayer({ E, K, H, config });
  return { ...options, weights: { ...options.weights, ...weights } };
};

const configs: MoEConfigOptions[] = [
  {},
  { scoreFunction: 'sqrtsoftplus', normTopkEpsilon: 1e-20, routedScalingFactor: 1.5 },
  { useGatingSigmoid: true, topkMethod: 'noaux_tc', nGroup: 4, topkGroup: 2 },
  { expertCapacity: 2, zLossFactor: 0.1 },
  { weightOnInput: true, normTopkProb: false },
];

test.each(configs)(
  'are weighed by the scores of their experts, as the reference weighs: %j',
  async (config) => {
    const options = layerOf(config);
    await using layer = await MoELayer.create(options);
    for (const tokens of [0, 1, 13]) {
      const [hidden, experts] = [randomValues(tokens * H, tokens), choices(tokens)];
      const result = await layer.forward(hidden, { experts, routing: true });
      const expected = layerReference(layer.config, options, hidden, experts);
      expect([...result.routing.expertIds]).toEqual(expected.expertIds.flat());
      expect([...result.expertLoad]).toEqual(expected.expertLoad);
      expect(result.droppedChoices).toBe(expected.droppedChoices);
      expect(relativeError(result.routing.weights, expected.weights.flat())).toBeLessThan(2e-6);
      expect(relativeError(result.output, expected.output.flat())).toBeLessThan(5e-6);
      expect(layer.forwardSync(hidden, { experts })).toEqual(
        await layer.forward(hidden, { experts }),
      );
      expect(await layer.route(hidden, { experts })).toEqual(result.routing);
    }
  },
);

test('are those of the router where they are what the router chooses', async () => {
  await using layer = await MoELayer.create(layerOf());
  const hidden = randomValues(9 * H, 3);
  const own = await layer.forward(hidden, { routing: true });
  const given = await layer.forward(hidden, { experts: own.routing.expertIds, routing: true });
  expect(given).toEqual(own);
});

test('make a token NaN whose logits are not finite, and no other', async () => {
  await using layer = await MoELayer.create(layerOf());
  const hidden = randomValues(3 * H, 3);
  hidden[H] = Number.NaN;
  const { routing, output } = await layer.forward(hidden, { experts: choices(3), routing: true });
  expect([...routing.expertIds.subarray(K, 2 * K)]).toEqual([-1, -1, -1]);
  expect(output.subarray(H, 2 * H).every(Number.isNaN)).toBe(true);
  expect(output.subarray(2 * H).every(Number.isFinite)).toBe(true);
});

test('may name an expert twice, and identities', async () => {
  const options = layerOf({ zeroExpertNum: 1 });
  options.weights.router = {
    dtype: 'float32',
    shape: [E + 1, H],
    data: randomValues((E + 1) * H, 4, 0.2),
  };
  await using layer = await MoELayer.create(options);
  const [hidden, experts] = [randomValues(2 * H, 1), Int32Array.of(2, 2, E, E, E, E)];
  const { output, expertLoad } = await layer.forward(hidden, { experts });
  const expected = layerReference(layer.config, options, hidden, experts);
  expect(relativeError(output, expected.output.flat())).toBeLessThan(5e-6);
  expect([...expertLoad]).toEqual([0, 0, 2, 0, 0, 0, 0, 0]);
});

describe('a table of experts', () => {
  const V = 11;
  const table = choices(V);

  test('says the experts of token ids', async () => {
    const expertTable = table.slice();
    await using layer = await MoELayer.create(layerOf({}, { expertTable }));
    expertTable.fill(0); // the layer has its own
    const [hidden, tokenIds] = [randomValues(4 * H, 1), Int32Array.of(10, 0, 3, 3)];
    const experts = Int32Array.from(
      [10, 0, 3, 3].flatMap((id) => [...table.subarray(id * K, id * K + K)]),
    );
    const expected = await layer.forward(hidden, { experts, routing: true });
    expect(await layer.forward(hidden, { tokenIds, routing: true })).toEqual(expected);
    expect(layer.forwardSync(hidden, { tokenIds, routing: true })).toEqual(expected);
    expect(await layer.route(hidden, { tokenIds })).toEqual(expected.routing);
    expect((await layer.forward(new Float32Array())).output.length).toBe(0);
    for (const [options, message] of [
      [{}, 'Expected `tokenIds`, or `experts`'],
      [{ tokenIds: tokenIds.subarray(1) }, 'a value for each of 4 tokens, got 3'],
      [
        { tokenIds: Int32Array.of(0, 1, V, 0) },
        'Expected `tokenIds[2]` to be a row of `weights.expertTable`, from 0 to 10, got 11',
      ],
      [{ tokenIds, experts }, 'Expected `experts` or `tokenIds`, got both'],
    ] as [ForwardOptions, string][]) {
      await expect(layer.forward(hidden, options)).rejects.toThrow(message);
      await expect(
        layer.route(hidden, { tokenIds: options.tokenIds, experts: options.experts }),
      ).rejects.toThrow(message);
    }
  });

  test.each([
    [[0, 1, 2, 3], 'a multiple of numExpertsChosen 3, got 4'],
    [[0, 1, E], 'Expected `weights.expertTable[2]` to be an expert, from 0 to 7, got 8'],
    [[0, -1, 2], 'Expected `weights.expertTable[1]` to be an expert'],
  ])('of %j is refused', async (values, message) => {
    const expertTable = Int32Array.from(values as number[]);
    await expect(MoELayer.create(layerOf({}, { expertTable }))).rejects.toThrow(message as string);
  });
});

const refused: [MoEConfigOptions, string][] = [
  [{ routingPolicy: 'TopkRouterV1', capacityFactor: 1 }, "only with routingPolicy 'TopkRouterV2'"],
  [{ alwaysChosenExpertNum: 1 }, '`alwaysChosenExpertNum` is 1'],
  [{ auxLossTypes: ['expert'], auxLossFactors: [0.1] }, '`auxLossTypes`'],
];

test.each(refused)('are refused by a layer of %j', async (config, message) => {
  await using layer = await MoELayer.create(layerOf(config));
  const hidden = randomValues(2 * H, 1);
  await expect(layer.forward(hidden, { experts: choices(2) })).rejects.toThrow(message);
  await expect(MoELayer.create(layerOf(config, { expertTable: choices(2) }))).rejects.toThrow(
    message,
  );
});

test('are refused where they do not fit', async () => {
  await using layer = await MoELayer.create(layerOf());
  const hidden = randomValues(2 * H, 1);
  for (const [options, message] of [
    [
      { experts: choices(3) },
      'Expected `experts` to hold 6 values, numExpertsChosen 3 for each of 2 tokens, got 9',
    ],
    [
      { experts: Int32Array.of(0, 1, 2, 0, 1, 8) },
      'Expected `experts[5]` to be an expert, from 0 to 7, got 8',
    ],
    [{ experts: [0, 1, 2, 0, 1, 2] }, 'Expected `experts` to be an Int32Array'],
    [
      { tokenIds: Int32Array.of(0, 0) },
      'Expected no `tokenIds`: the layer has no `weights.expertTable`',
    ],
  ] as [ForwardOptions, string][]) {
    await expect(layer.forward(hidden, options)).rejects.toThrow(message);
    await expect(layer.route(hidden, options)).rejects.toThrow(message);
    expect(() => layer.forwardSync(hidden, options)).toThrow(message);
  }
});

test('travel between ranks as those of the router do', async () => {
  const expertTable = choices(6);
  const options = layerOf(
    { zeroExpertNum: 2, weightOnInput: true, expertCapacity: 4 },
    { expertTable },
  );
  options.weights.router = {
    dtype: 'float32',
    shape: [E + 2, H],
    data: randomValues((E + 2) * H, 4, 0.2),
  };
  const calls = [
    { hidden: randomValues(7 * H, 1), tokenIds: Int32Array.of(0, 1, 5, 5, 2, 0, 3) },
    { hidden: randomValues(2 * H, 2), experts: Int32Array.of(0, 0, 9, 7, 8, 1) },
  ];
  await using ranks = new Ranks(2);
  await ranks.join();
  await ranks.tell('create', () => options);
  const results = await ranks.tell('forwardWith', (rank) => calls[rank]);
  await using layer = await MoELayer.create(options);
  for (const [rank, { hidden, ...call }] of calls.entries())
    expect(results[rank]).toEqual(await layer.forward(hidden, { ...call, routing: true }));
  const failure = await failureOf(layer.forward(calls[0]?.hidden as Float32Array));
  expect(failure.code).toBe('ERR_MOE_CONFIG');
});
