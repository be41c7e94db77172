import { expect, test } from 'vitest';
import { MoEConfig, type MoEConfigOptions } from '../../src/config/config.js';

const v2: MoEConfigOptions = { routingPolicy: 'TopkRouterV2', expertNum: 8, numExpertsChosen: 2 };
const dropless: MoEConfigOptions = { ...v2, capacityFactor: -1 };

test.each<[options: MoEConfigOptions, field: string]>([
  [{ groupWiseA2a: true }, 'groupWiseA2a'],
  [{ compCommParallel: true }, 'compCommParallel'],
  [{ ...v2, compCommParallel: true }, 'compCommParallel'],
  [{ ...dropless, compCommParallel: true }, 'compCommParallel'],
  [{ compCommParallelDegree: 4 }, 'compCommParallelDegree'],
  [{ ...v2, auxLossFactor: 0.1 }, 'auxLossFactor'],
  [{ ...dropless, expertGroupSize: 16 }, 'expertGroupSize'],
  [{ ...dropless, enableSdrop: true }, 'enableSdrop'],
  [{ ...v2, numExpertsChosen: 1, enableSdrop: true }, 'enableSdrop'],
  [{ ...v2, numExpertsChosen: 1, normTopkProb: false }, 'normTopkProb'],
  [{ ...v2, normTopkProb: false, normTopkEpsilon: 0 }, 'normTopkEpsilon'],
  [{ ...v2, topkMethod: 'noaux_tc', nGroup: 2, topkGroup: 2 }, 'topkMethod'],
  [{ ...v2, normTopkSingle: true }, 'normTopkSingle'],
])('%j: one sentence, about %s', (options, field) => {
  const { diagnostics } = new MoEConfig(options);
  expect(diagnostics).toHaveLength(1);
  expect(diagnostics[0]).toMatch(new RegExp(`^\`${field}\` .*\\.$`));
});

test.each<[options: MoEConfigOptions, fields: string[]]>([
  [
    { routingPolicy: 'TopkRouterV2', routedScalingFactor: 2 },
    ['routingPolicy', 'routedScalingFactor'],
  ],
  [
    { capacityFactor: 2, auxLossFactor: 0.3, expertGroupSize: 4 },
    ['capacityFactor', 'auxLossFactor', 'expertGroupSize'],
  ],
])('%j: one expert makes all of them idle', (options, fields) => {
  const { diagnostics } = new MoEConfig(options);
  expect(new Set(diagnostics.map((sentence) => sentence.split('`')[1]))).toEqual(new Set(fields));
});

test.each<MoEConfigOptions>([
  {},
  { expertNum: 8, numExpertsChosen: 2, expertGroupSize: 64, auxLossFactor: 0.1 },
  { ...v2, enableSdrop: true, expertGroupSize: 64, normTopkEpsilon: 0 },
  { ...dropless, expertCapacity: 4, enableSdrop: true, expertGroupSize: 64 },
  { ...dropless, numExpertsChosen: 1, normTopkSingle: true, normTopkEpsilon: 0 },
  { ...dropless, expertNum: 1, zeroExpertNum: 1, weightOnInput: true, logitSoftCap: 3 },
  { ...dropless, expertGroupSize: 64, zLossFactor: 0.1 },
  { ...v2, topkMethod: 'noaux_tc', nGroup: 4, topkGroup: 2, excludeMaskedGroups: true },
])('%j: nothing to say where every field counts', (options) => {
  expect(new MoEConfig(options).diagnostics).toEqual([]);
});
