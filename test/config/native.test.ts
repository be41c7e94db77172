import { expect, test } from 'vitest';
import { MoEConfig } from '../../src/config/config.js';
import { toNativeConfig } from '../../src/config/native.js';

test('a native config has every field, and null becomes what native code takes for none', () => {
  const config = new MoEConfig({ expertNum: 8, numExpertsChosen: 2, capacityFactor: 1.25 });
  expect(toNativeConfig(config)).toEqual({
    expertNum: 8,
    capacityFactor: 1.25,
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
    balanceViaTopkBias: false,
    normTopkProb: true,
    normTopkEpsilon: 1e-9,
    routedScalingFactor: 1,
    enableSdrop: false,
    capacityMultiple: 1,
    auxLosses: [],
    zLossFactor: 0,
    sparsemixerEpsilon: 0.01,
    logitSoftCap: 0,
    chooseByLogit: false,
    normTopkSingle: false,
    zeroExpertNum: 0,
    alwaysChosenExpertNum: 0,
    weightOnInput: false,
    sharedExpertScale: 1,
  });
});

test('fields of TopkRouterV2 reach the native config', () => {
  const fields = {
    expertNum: 16,
    capacityFactor: -1,
    numExpertsChosen: 4,
    routingPolicy: 'TopkRouterV2',
    topkMethod: 'noaux_tc',
    nGroup: 4,
    topkGroup: 2,
    excludeMaskedGroups: true,
    balanceViaTopkBias: true,
    normTopkEpsilon: 1e-20,
    routedScalingFactor: 2.5,
    enableSdrop: true,
    zLossFactor: 0.1,
  } as const;
  expect(toNativeConfig(new MoEConfig(fields))).toMatchObject(fields);
  const sigmoid = new MoEConfig({ ...fields, useGatingSigmoid: true });
  expect(toNativeConfig(sigmoid).scoreFunction).toBe('sigmoid');
  expect(toNativeConfig(new MoEConfig({ ...fields, normTopkProb: false })).normTopkProb).toBe(
    false,
  );
});

test('expertGroupSize cuts tokens, except with the loss type device, where it groups experts', () => {
  expect(toNativeConfig(new MoEConfig({ expertGroupSize: 128 })).tokensPerGroup).toBe(128);
  const config = new MoEConfig({
    routingPolicy: 'TopkRouterV2',
    expertNum: 8,
    expertGroupSize: 4,
    auxLossTypes: ['expert', 'device', 'comm'],
    auxLossFactors: [0.003, 0.005, 0.002],
  });
  const native = toNativeConfig(config, { modelParallel: 1, expertParallel: 2 });
  expect(native.tokensPerGroup).toBe(0);
  expect(native.auxLosses).toEqual([
    { factor: 0.003, expertGroups: 8 },
    { factor: 0.005, expertGroups: 4 },
    { factor: 0.002, expertGroups: 2 },
  ]);
  expect(toNativeConfig(config).auxLosses[2]).toEqual({ factor: 0.002, expertGroups: 1 });
});

test('capacity is rounded to model parallelism times degree with TopkRouterV2 only', () => {
  const ranks = { modelParallel: 4, expertParallel: 1 };
  const overlapped = { compCommParallel: true, compCommParallelDegree: 3 };
  const multiple = (options: object) =>
    toNativeConfig(new MoEConfig(options), ranks).capacityMultiple;
  expect(multiple(overlapped)).toBe(1);
  expect(multiple({ routingPolicy: 'TopkRouterV2' })).toBe(4);
  expect(multiple({ routingPolicy: 'TopkRouterV2', ...overlapped })).toBe(12);
  expect(() =>
    multiple({
      routingPolicy: 'TopkRouterV2',
      compCommParallel: true,
      compCommParallelDegree: 2 ** 30,
    }),
  ).toThrow(
    'Expected `modelParallel * compCommParallelDegree` to be an integer from 1 to 2147483647, got `4294967296` (number)',
  );
});
