import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/base/errors.js';
import { MoEConfig, type MoEConfigOptions } from '../../src/config/config.js';

/** The message that options are refused with. */
function refusal(options: Record<string, unknown>): string {
  try {
    new MoEConfig(options as MoEConfigOptions);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).code).toBe('ERR_MOE_CONFIG');
    return (error as ConfigError).message;
  }
  return 'taken';
}

const v2 = { routingPolicy: 'TopkRouterV2' };
const grouped = { ...v2, expertNum: 16, topkMethod: 'noaux_tc', nGroup: 4, topkGroup: 2 };

describe("MindFormers' eight fields", () => {
  test.each([
    [
      { expertNum: 0 },
      'Expected `expertNum` to be an integer from 1 to 2147483647, got `0` (number)',
    ],
    [
      { expertNum: 1.5 },
      'Expected `expertNum` to be an integer from 1 to 2147483647, got `1.5` (number)',
    ],
    [
      { expertNum: '8' },
      'Expected `expertNum` to be an integer from 1 to 2147483647, got `8` (string)',
    ],
    [{ expertNum: null }, 'Expected `expertNum` to be an integer from 1 to 2147483647, got `null`'],
    [
      { capacityFactor: 0 },
      'Expected `capacityFactor` to be a finite number above 0, got `0` (number)',
    ],
    [
      { capacityFactor: Number.NaN },
      'Expected `capacityFactor` to be a finite number above 0, got `NaN` (number)',
    ],
    [
      { capacityFactor: Infinity },
      'Expected `capacityFactor` to be a finite number above 0, got `Infinity` (number)',
    ],
    [
      { auxLossFactor: 0 },
      'Expected `auxLossFactor` to be a finite number above 0, got `0` (number)',
    ],
    [
      { numExpertsChosen: true },
      'Expected `numExpertsChosen` to be an integer from 1 to 2147483647, got `true` (boolean)',
    ],
    [{ groupWiseA2a: 1 }, 'Expected `groupWiseA2a` to be true or false, got `1` (number)'],
    [
      { compCommParallel: 'yes' },
      'Expected `compCommParallel` to be true or false, got `yes` (string)',
    ],
    [
      { compCommParallelDegree: 0 },
      'Expected `compCommParallelDegree` to be an integer from 1 to 2147483647, got `0` (number)',
    ],
    [
      { expertGroupSize: 0 },
      'Expected `expertGroupSize` to be an integer of at least 1, got `0` (number)',
    ],
    [
      { capacityFactor: 0.5 },
      "Expected `capacityFactor` to be at least 1 with routingPolicy 'TopkRouterV1' ('TopkRouterV2' takes any, and " +
        'drops nothing at 0 or less), got `0.5` (number)',
    ],
    [
      { auxLossFactor: 1 },
      'Expected `auxLossFactor` to be a finite number below 1, got `1` (number)',
    ],
    [
      { expertNum: 4, numExpertsChosen: 5 },
      'Expected `numExpertsChosen` to be at most `expertNum` (4), got `5` (number)',
    ],
  ])('%j is refused', (options, message) => {
    expect(refusal(options)).toBe(message);
  });

  test("are checked in MindFormers' order", () => {
    const wrong: [field: string, options: Record<string, unknown>][] = [
      ['expertNum', { expertNum: 0 }],
      ['capacityFactor', { capacityFactor: -1 }],
      ['auxLossFactor', { auxLossFactor: 0 }],
      ['numExpertsChosen', { numExpertsChosen: 0 }],
      ['groupWiseA2a', { groupWiseA2a: 0 }],
      ['compCommParallel', { compCommParallel: 0 }],
      ['compCommParallelDegree', { compCommParallelDegree: 0 }],
      ['expertGroupSize', { expertGroupSize: 0 }],
      ['capacityFactor', { capacityFactor: 0.9 }],
      ['auxLossFactor', { auxLossFactor: 1.5 }],
      ['numExpertsChosen', { numExpertsChosen: 2 }],
      ['routingPolicy', { routingPolicy: 'Random' }],
    ];
    for (let first = 0; first < wrong.length; ++first) {
      const options = Object.assign(
        {},
        ...wrong
          .slice(first)
          .map(([, wrongOptions]) => wrongOptions)
          .reverse(),
      );
      expect(refusal(options), `check ${first + 1}`).toContain(`Expected \`${wrong[first]?.[0]}\``);
    }
  });

  test.each([-1, 0, 0.5, 100])('TopkRouterV2 takes capacityFactor %s', (capacityFactor) => {
    expect(refusal({ ...v2, capacityFactor })).toBe('taken');
  });

  test.each([Number.NaN, Infinity, null, '1'])(
    'TopkRouterV2 refuses capacityFactor %s',
    (capacityFactor) => {
      expect(refusal({ ...v2, capacityFactor })).toContain(
        'Expected `capacityFactor` to be a finite number, got',
      );
    },
  );
});

describe('the later fields', () => {
  test.each([
    [
      { routingPolicy: 'TopkRouterV3' },
      "Expected `routingPolicy` to be 'TopkRouterV1' or 'TopkRouterV2', got",
    ],
    [{ ...v2, useGatingSigmoid: 'yes' }, 'Expected `useGatingSigmoid` to be true or false'],
    [{ ...v2, topkMethod: 'noaux_ct' }, "`noaux_ct` (string): did you mean 'noaux_tc'?"],
    [{ ...grouped, nGroup: 0 }, 'Expected `nGroup` to be an integer from 1'],
    [{ ...grouped, topkGroup: 1.5 }, 'Expected `topkGroup` to be an integer from 1'],
    [{ ...grouped, excludeMaskedGroups: 1 }, 'Expected `excludeMaskedGroups` to be true or false'],
    [{ ...v2, balanceViaTopkBias: 1 }, 'Expected `balanceViaTopkBias` to be true or false'],
    [{ ...v2, normTopkProb: null }, 'Expected `normTopkProb` to be true or false'],
    [
      { ...v2, normTopkEpsilon: -1e-9 },
      'Expected `normTopkEpsilon` to be a finite number of at least 0',
    ],
    [
      { ...v2, routedScalingFactor: 0 },
      'Expected `routedScalingFactor` to be a finite number above 0',
    ],
    [{ ...v2, enableSdrop: 1 }, 'Expected `enableSdrop` to be true or false'],
    [{ sharedExpertNum: -1 }, 'Expected `sharedExpertNum` to be a finite number of at least 0'],
    [{ useSharedExpertGating: 1 }, 'Expected `useSharedExpertGating` to be true or false'],
    [{ moeIntermediateSize: 0 }, 'Expected `moeIntermediateSize` to be an integer from 1'],
    [
      { ...v2, auxLossTypes: 'expert' },
      'Expected `auxLossTypes` to be a list or null, got `expert` (string)',
    ],
    [
      { ...v2, auxLossTypes: ['expert', 'experts'], auxLossFactors: [1, 1] },
      "Expected `auxLossTypes[1]` to be 'expert' or 'device' or 'comm', got `experts` (string): did you mean 'expert'?",
    ],
    [
      { ...v2, auxLossTypes: ['expert'], auxLossFactors: [-1] },
      'Expected `auxLossFactors[0]` to be a finite number of at least 0, got `-1` (number)',
    ],
    [{ ...v2, zLossFactor: -1 }, 'Expected `zLossFactor` to be a finite number of at least 0'],
  ])('%j is refused for its type or range', (options, message) => {
    expect(refusal(options)).toContain(message);
  });

  test.each([
    ['useGatingSigmoid', true],
    ['topkMethod', 'noaux_tc'],
    ['nGroup', 2],
    ['topkGroup', 1],
    ['excludeMaskedGroups', true],
    ['balanceViaTopkBias', true],
    ['normTopkProb', false],
    ['normTopkEpsilon', 0],
    ['routedScalingFactor', 2],
    ['enableSdrop', true],
    ['auxLossTypes', ['expert']],
    ['auxLossFactors', [0.1]],
    ['zLossFactor', 0.1],
  ])('%s is refused with TopkRouterV1', (field, value) => {
    expect(refusal({ expertNum: 4, [field]: value })).toMatch(
      new RegExp(
        `^Expected \`${field}\` to be left at its default \\(.*\\): it has an effect only with routingPolicy 'TopkRouterV2'`,
      ),
    );
  });

  test.each([
    ['sharedExpertNum', 2],
    ['sharedExpertNum', 1.5],
    ['moeIntermediateSize', 2048],
  ])('%s %s is taken with TopkRouterV1', (field, value) => {
    expect(refusal({ [field]: value })).toBe('taken');
  });

  test('a gate of the shared expert without a shared expert is refused', () => {
    expect(refusal({ useSharedExpertGating: true })).toBe(
      'Expected `sharedExpertNum` to be above 0, because `useSharedExpertGating` is true, got `0` (number)',
    );
  });
});

describe('groups of experts', () => {
  test.each([
    ['nGroup', 2],
    ['topkGroup', 1],
    ['excludeMaskedGroups', true],
  ])('%s is refused when topkMethod is greedy', (field, value) => {
    expect(refusal({ ...v2, expertNum: 4, [field]: value })).toContain(
      "topkMethod 'greedy' has no groups",
    );
  });

  test.each([
    [
      { ...grouped, nGroup: null },
      "Expected `nGroup` to be a divisor of `expertNum` (16), because topkMethod is 'noaux_tc', got `null`",
    ],
    [
      { ...grouped, nGroup: 3 },
      "Expected `nGroup` to be a divisor of `expertNum` (16), because topkMethod is 'noaux_tc', got `3` (number)",
    ],
    [
      { ...grouped, topkGroup: null },
      "Expected `topkGroup` to be an integer from 1 to `nGroup` (4), because topkMethod is 'noaux_tc', got `null`",
    ],
    [
      { ...grouped, topkGroup: 5 },
      "Expected `topkGroup` to be an integer from 1 to `nGroup` (4), because topkMethod is 'noaux_tc', got `5` (number)",
    ],
    [
      { ...grouped, numExpertsChosen: 9 },
      'Expected `numExpertsChosen` to be at most 8, the number of experts in 2 of 4 groups, got `9` (number)',
    ],
    [{ ...grouped, numExpertsChosen: 8 }, 'taken'],
  ])('%j', (options, message) => {
    expect(refusal(options)).toBe(message);
  });
});

describe('balance losses', () => {
  const device = { ...v2, expertNum: 8, auxLossTypes: ['device'], auxLossFactors: [0.1] };

  test.each([
    [
      { ...v2, auxLossTypes: ['expert'] },
      'Expected `auxLossTypes` and `auxLossFactors` to be lists of the same length, got 1 and 0 elements',
    ],
    [
      { ...v2, auxLossFactors: [0.1, 0.2] },
      'Expected `auxLossTypes` and `auxLossFactors` to be lists of the same length, got 0 and 2 elements',
    ],
    [
      device,
      "Expected `expertGroupSize` to be a divisor of `expertNum` (8), because the loss type 'device' takes it for the " +
        'number of groups of experts, got `null`',
    ],
    [
      { ...device, expertGroupSize: 3 },
      "Expected `expertGroupSize` to be a divisor of `expertNum` (8), because the loss type 'device' takes it for the " +
        'number of groups of experts, got `3` (number)',
    ],
    [{ ...device, expertGroupSize: 4 }, 'taken'],
    [
      { ...v2, expertNum: 8, auxLossTypes: ['comm'], auxLossFactors: [0.1], expertGroupSize: 3 },
      'taken',
    ],
  ])('%j', (options, message) => {
    expect(refusal(options)).toBe(message);
  });
});

describe("fields beyond MindFormers'", () => {
  const mixer = {
    ...v2,
    expertNum: 8,
    numExpertsChosen: 2,
    scoreFunction: 'sparsemixer',
    normTopkProb: false,
  };
  const eight = { ...v2, expertNum: 8, numExpertsChosen: 4, capacityFactor: -1 };
  const twoGroups = { topkMethod: 'noaux_tc', nGroup: 2, topkGroup: 1 };
  const losses = { auxLossTypes: ['expert'], auxLossFactors: [0.1] };
  test.each([
    [
      { scoreFunction: 'sqrtsoftplus' },
      "Expected `scoreFunction` to be left at its default (null): it has an effect only with routingPolicy 'TopkRouterV2', got `sqrtsoftplus` (string)",
    ],
    [
      { ...v2, scoreFunction: 'softmax' },
      "Expected `scoreFunction` to be 'sqrtsoftplus' or 'sparsemixer', got `softmax` (string)",
    ],
    [
      { ...v2, scoreFunction: 'sqrtsoftplus', useGatingSigmoid: true },
      "Expected `useGatingSigmoid` to be false, because `scoreFunction` is 'sqrtsoftplus', got `true` (boolean)",
    ],
    [
      { ...mixer, numExpertsChosen: 3 },
      "Expected `numExpertsChosen` to be 2, because `scoreFunction` is 'sparsemixer', got `3` (number)",
    ],
    [
      { ...mixer, normTopkProb: true },
      "Expected `normTopkProb` to be false, because `scoreFunction` is 'sparsemixer', got `true` (boolean)",
    ],
    [
      { ...mixer, ...twoGroups },
      "Expected `topkMethod` to be 'greedy', because `scoreFunction` is 'sparsemixer', got `noaux_tc` (string)",
    ],
    [
      { ...mixer, balanceViaTopkBias: true },
      "Expected `balanceViaTopkBias` to be false, because `scoreFunction` is 'sparsemixer'",
    ],
    [
      { ...mixer, ...losses },
      "Expected `auxLossTypes` to be null, because `scoreFunction` is 'sparsemixer', got an array of 1",
    ],
    [
      { ...mixer, chooseByLogit: true },
      "Expected `chooseByLogit` to be false, because `scoreFunction` is 'sparsemixer'",
    ],
    [
      { ...v2, sparsemixerEpsilon: 0.1 },
      "Expected `scoreFunction` to be 'sparsemixer', because `sparsemixerEpsilon` is 0.1, got `null`",
    ],
    [
      { ...eight, chooseByLogit: true, balanceViaTopkBias: true },
      'Expected `balanceViaTopkBias` to be false, because `chooseByLogit` is true, got `true` (boolean)',
    ],
    [
      { ...eight, normTopkSingle: true, normTopkProb: false },
      'Expected `normTopkProb` to be true, because `normTopkSingle` is true, got `false` (boolean)',
    ],
    [
      { ...eight, zeroExpertNum: 1, ...twoGroups },
      "Expected `topkMethod` to be 'greedy', because `zeroExpertNum` is 1, got `noaux_tc` (string)",
    ],
    [
      { ...eight, zeroExpertNum: 1, ...losses },
      'Expected `auxLossTypes` to be null, because `zeroExpertNum` is 1',
    ],
    [
      { ...eight, zeroExpertNum: 2, numExpertsChosen: 11 },
      'Expected `numExpertsChosen` to be at most `expertNum` + `zeroExpertNum` (10), got `11` (number)',
    ],
    [
      { ...eight, alwaysChosenExpertNum: 4 },
      'Expected `alwaysChosenExpertNum` to be below `numExpertsChosen` (4), which counts them, got `4` (number)',
    ],
    [
      { ...eight, alwaysChosenExpertNum: 1, capacityFactor: 1 },
      'Expected `capacityFactor` to be 0 or less, because `alwaysChosenExpertNum` is 1: none is dropped, got `1` (number)',
    ],
    [
      { ...eight, alwaysChosenExpertNum: 1, expertCapacity: 3 },
      'Expected `expertCapacity` to be null, because `alwaysChosenExpertNum` is 1, got `3` (number)',
    ],
    [
      { ...eight, alwaysChosenExpertNum: 1, zeroExpertNum: 1 },
      'Expected `alwaysChosenExpertNum` to be 0, because `zeroExpertNum` is 1, got `1` (number)',
    ],
    [
      { ...eight, expertCapacity: 3, capacityFactor: 2 },
      'Expected `capacityFactor` to be left at its default, or 0 or less, because `expertCapacity` is 3, got `2` (number)',
    ],
    [
      { ...eight, sharedExpertScale: 0.5 },
      'Expected `sharedExpertNum` to be above 0, because `sharedExpertScale` is 0.5, got `0` (number)',
    ],
  ])('%j is refused', (options, message) => {
    expect(refusal(options)).toContain(message);
  });

  test.each([
    mixer,
    { ...eight, zeroExpertNum: 2, numExpertsChosen: 10 },
    { ...eight, capacityFactor: 1.1, expertCapacity: 3, weightOnInput: true },
    { ...eight, alwaysChosenExpertNum: 3, balanceViaTopkBias: true, logitSoftCap: 30 },
  ])('%j is taken, and said again by toJSON', (options) => {
    const config = new MoEConfig(options as MoEConfigOptions);
    expect(MoEConfig.parse(config.toJSON()).equals(config)).toBe(true);
  });
});
