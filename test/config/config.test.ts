import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/base/errors.js';
import { MoEConfig, type MoEConfigOptions } from '../../src/config/config.js';
import { randomOptions } from './random_options.js';

const defaults = {
  expertNum: 1,
  capacityFactor: 1.1,
  auxLossFactor: 0.05,
  numExpertsChosen: 1,
  expertGroupSize: null,
  groupWiseA2a: false,
  compCommParallel: false,
  compCommParallelDegree: 2,
  routingPolicy: 'TopkRouterV1',
  useGatingSigmoid: false,
  topkMethod: 'greedy',
  nGroup: null,
  topkGroup: null,
  excludeMaskedGroups: false,
  balanceViaTopkBias: false,
  normTopkProb: true,
  normTopkEpsilon: 1e-9,
  routedScalingFactor: 1,
  enableSdrop: false,
  sharedExpertNum: 0,
  useSharedExpertGating: false,
  moeIntermediateSize: 1407,
  auxLossTypes: null,
  auxLossFactors: null,
  zLossFactor: 0,
  scoreFunction: null,
  sparsemixerEpsilon: 0.01,
  logitSoftCap: 0,
  chooseByLogit: false,
  normTopkSingle: false,
  zeroExpertNum: 0,
  alwaysChosenExpertNum: 0,
  weightOnInput: false,
  sharedExpertScale: 1,
  expertCapacity: null,
};

const withLosses: MoEConfigOptions = {
  expertNum: 8,
  routingPolicy: 'TopkRouterV2',
  auxLossTypes: ['expert', 'comm'],
  auxLossFactors: [0.01, 0.02],
};

describe('a new MoEConfig', () => {
  test("has MindFormers' defaults", () => {
    expect({ ...new MoEConfig() }).toEqual(defaults);
  });

  test('takes undefined for a field that is not given', () => {
    expect(new MoEConfig({ expertNum: undefined, nGroup: undefined }).equals(new MoEConfig())).toBe(
      true,
    );
  });

  test('is frozen, its lists included', () => {
    const config = new MoEConfig(withLosses);
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.auxLossTypes)).toBe(true);
    expect(Object.isFrozen(config.auxLossFactors)).toBe(true);
    expect(Object.isFrozen(config.diagnostics)).toBe(true);
  });

  test('does not change with the options it was made of', () => {
    const auxLossFactors = [0.01, 0.02];
    const config = new MoEConfig({ ...withLosses, auxLossFactors });
    auxLossFactors[0] = 9;
    expect(config.auxLossFactors).toEqual([0.01, 0.02]);
    expect(Object.isFrozen(auxLossFactors)).toBe(false);
  });

  test.each([null, 5, 'expertNum: 8', []])('refuses %s for options', (options) => {
    expect(() => new MoEConfig(options as unknown as MoEConfigOptions)).toThrow(ConfigError);
  });

  test('names the option nearest to an unknown one', () => {
    expect(() => new MoEConfig({ expertNumm: 8 } as MoEConfigOptions)).toThrow(
      'Expected an option of MoEConfig, got `expertNumm` (string): did you mean `expertNum`?',
    );
  });

  test('says that only parse takes snake_case', () => {
    expect(() => new MoEConfig({ num_experts_chosen: 2 } as MoEConfigOptions)).toThrow(
      'Expected the option `numExpertsChosen`, got `num_experts_chosen`: MoEConfig.parse takes snake_case names',
    );
  });

  test('reads no option off a prototype', () => {
    const options = Object.create({ expertNum: 8 }) as MoEConfigOptions;
    expect(new MoEConfig(options).expertNum).toBe(1);
  });
});

describe('equals', () => {
  test('is true for the same fields and false as soon as one differs', () => {
    const config = new MoEConfig(withLosses);
    expect(config.equals(new MoEConfig(withLosses))).toBe(true);
    expect(config.equals(config.with({ capacityFactor: 2 }))).toBe(false);
    expect(config.equals(config.with({ auxLossFactors: [0.01, 0.03] }))).toBe(false);
    expect(config.equals(config.with({ auxLossTypes: null, auxLossFactors: null }))).toBe(false);
  });
});

describe('with', () => {
  test('changes the fields given and keeps the others', () => {
    const config = new MoEConfig(withLosses).with({ capacityFactor: -1 });
    expect({ ...config }).toEqual({ ...defaults, ...withLosses, capacityFactor: -1 });
  });

  test('checks the result', () => {
    expect(() =>
      new MoEConfig({ expertNum: 8, numExpertsChosen: 4 }).with({ expertNum: 2 }),
    ).toThrow('Expected `numExpertsChosen` to be at most `expertNum` (2), got `4` (number)');
  });

  test('keeps what parse noted', () => {
    const config = MoEConfig.parse({ callback_moe_droprate: true }).with({ expertNum: 2 });
    expect(config.diagnostics).toEqual([
      '`callback_moe_droprate` writes statistics in training and changes no output.',
    ]);
  });
});

describe('toJSON', () => {
  test("writes MindFormers' names, and the rest only where it says something", () => {
    expect(Object.keys(new MoEConfig().toJSON())).toEqual([
      'expert_num',
      'capacity_factor',
      'aux_loss_factor',
      'num_experts_chosen',
      'expert_group_size',
      'group_wise_a2a',
      'comp_comm_parallel',
      'comp_comm_parallel_degree',
      'routing_policy',
      'use_gating_sigmoid',
      'topk_method',
      'n_group',
      'topk_group',
      'balance_via_topk_bias',
      'norm_topk_prob',
      'routed_scaling_factor',
      'enable_sdrop',
      'shared_expert_num',
      'use_shared_expert_gating',
      'aux_loss_types',
      'aux_loss_factors',
      'z_loss_factor',
    ]);
    const config = new MoEConfig({
      ...withLosses,
      topkMethod: 'noaux_tc',
      nGroup: 4,
      topkGroup: 2,
      excludeMaskedGroups: true,
      normTopkEpsilon: 1e-20,
      moeIntermediateSize: 2048,
    });
    expect(config.toJSON()).toMatchObject({
      exclude_masked_groups: true,
      norm_topk_epsilon: 1e-20,
      moe_intermediate_size: 2048,
    });
  });

  test('is what JSON.stringify writes', () => {
    const config = new MoEConfig(withLosses);
    expect(JSON.parse(JSON.stringify(config))).toEqual(config.toJSON());
  });

  test('is undone by parse, as an object and as text', () => {
    for (let seed = 0; seed < 500; ++seed) {
      const config = new MoEConfig(randomOptions(seed));
      expect(MoEConfig.parse(config.toJSON()).equals(config), `seed ${seed}`).toBe(true);
      expect(MoEConfig.parse(JSON.stringify(config)).equals(config), `seed ${seed}`).toBe(true);
      expect(
        MoEConfig.parse(JSON.stringify(config, null, '\t')).equals(config),
        `seed ${seed}`,
      ).toBe(true);
    }
  });
});

test('inspect shows the fields', () => {
  expect(inspect(new MoEConfig({ expertNum: 8 }))).toMatch(
    /^MoEConfig \{\n {2}expertNum: 8,\n {2}capacityFactor: 1.1,/,
  );
});
