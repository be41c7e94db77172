import { expectBoolean, expectInteger, expectNumber, expectOneOf, unexpected } from '../checks.js';
import { ConfigError } from '../errors.js';
import {
  auxLossTypes,
  defaults,
  type FieldName,
  type MoEConfigFields,
  routingPolicies,
  topkMethods,
} from './fields.js';

/** Native code counts experts, choices and groups in 32 bits. */
export const maxInt32 = 2 ** 31 - 1;

/** Values as they came: of any type, every field present. */
export type RawFields = Readonly<Record<FieldName, unknown>>;

/**
 * Throws `ConfigError` on the first field that cannot describe a layer. MindFormers' eight fields come first, in
 * MindFormers' order; then the type of each later field; then what fields demand of each other.
 */
export function checkFields(raw: RawFields): asserts raw is MoEConfigFields {
  checkSeedFields(raw);
  checkLaterTypes(raw);
  const fields = raw as MoEConfigFields;
  if (fields.routingPolicy === 'TopkRouterV1') refuseV2Fields(fields);
  checkGroups(fields);
  checkLosses(fields);
  if (fields.useSharedExpertGating && fields.sharedExpertNum === 0)
    throw unexpected(
      'sharedExpertNum',
      'above 0, because `useSharedExpertGating` is true',
      fields.sharedExpertNum,
    );
}

function checkSeedFields(raw: RawFields): void {
  const isV2 = raw.routingPolicy === 'TopkRouterV2';
  expectInteger('expertNum', raw.expertNum, 1, maxInt32);
  expectNumber('capacityFactor', raw.capacityFactor, isV2 ? {} : { above: 0 });
  expectNumber('auxLossFactor', raw.auxLossFactor, { above: 0 });
  expectInteger('numExpertsChosen', raw.numExpertsChosen, 1, maxInt32);
  expectBoolean('groupWiseA2a', raw.groupWiseA2a);
  expectBoolean('compCommParallel', raw.compCommParallel);
  expectInteger('compCommParallelDegree', raw.compCommParallelDegree, 1, maxInt32);
  if (raw.expertGroupSize !== null) expectInteger('expertGroupSize', raw.expertGroupSize, 1);
  if (!isV2 && raw.capacityFactor < 1)
    throw unexpected(
      'capacityFactor',
      "at least 1 with routingPolicy 'TopkRouterV1' ('TopkRouterV2' takes any, and drops nothing at 0 or less)",
      raw.capacityFactor,
    );
  expectNumber('auxLossFactor', raw.auxLossFactor, { below: 1 });
  if (raw.numExpertsChosen > raw.expertNum)
    throw unexpected(
      'numExpertsChosen',
      `at most \`expertNum\` (${raw.expertNum})`,
      raw.numExpertsChosen,
    );
}

function checkLaterTypes(raw: RawFields): void {
  expectOneOf('routingPolicy', raw.routingPolicy, routingPolicies);
  expectBoolean('useGatingSigmoid', raw.useGatingSigmoid);
  expectOneOf('topkMethod', raw.topkMethod, topkMethods);
  if (raw.nGroup !== null) expectInteger('nGroup', raw.nGroup, 1, maxInt32);
  if (raw.topkGroup !== null) expectInteger('topkGroup', raw.topkGroup, 1, maxInt32);
  expectBoolean('excludeMaskedGroups', raw.excludeMaskedGroups);
  expectBoolean('balanceViaTopkBias', raw.balanceViaTopkBias);
  expectBoolean('normTopkProb', raw.normTopkProb);
  expectNumber('normTopkEpsilon', raw.normTopkEpsilon, { atLeast: 0 });
  expectNumber('routedScalingFactor', raw.routedScalingFactor, { above: 0 });
  expectBoolean('enableSdrop', raw.enableSdrop);
  expectNumber('sharedExpertNum', raw.sharedExpertNum, { atLeast: 0 });
  expectBoolean('useSharedExpertGating', raw.useSharedExpertGating);
  expectInteger('moeIntermediateSize', raw.moeIntermediateSize, 1, maxInt32);
  expectList('auxLossTypes', raw.auxLossTypes, (name, value) =>
    expectOneOf(name, value, auxLossTypes),
  );
  expectList('auxLossFactors', raw.auxLossFactors, (name, value) =>
    expectNumber(name, value, { atLeast: 0 }),
  );
  expectNumber('zLossFactor', raw.zLossFactor, { atLeast: 0 });
}

function expectList(
  name: string,
  value: unknown,
  expectElement: (name: string, value: unknown) => void,
): void {
  if (value === null) return;
  if (!Array.isArray(value)) throw unexpected(name, 'a list or null', value);
  for (const [index, element] of value.entries()) expectElement(`${name}[${index}]`, element);
}

const v2Fields: readonly FieldName[] = [
  'useGatingSigmoid',
  'topkMethod',
  'nGroup',
  'topkGroup',
  'excludeMaskedGroups',
  'balanceViaTopkBias',
  'normTopkProb',
  'normTopkEpsilon',
  'routedScalingFactor',
  'enableSdrop',
  'auxLossTypes',
  'auxLossFactors',
  'zLossFactor',
];

function refuseV2Fields(fields: MoEConfigFields): void {
  for (const name of v2Fields)
    if (fields[name] !== defaults[name])
      throw unexpected(
        name,
        `left at its default (${defaults[name]}): it has an effect only with routingPolicy 'TopkRouterV2'`,
        fields[name],
      );
}

const groupFields = ['nGroup', 'topkGroup', 'excludeMaskedGroups'] as const;

function checkGroups(fields: MoEConfigFields): void {
  const { expertNum, numExpertsChosen, topkMethod, nGroup, topkGroup } = fields;
  if (topkMethod === 'greedy') {
    for (const name of groupFields)
      if (fields[name] !== defaults[name])
        throw unexpected(
          name,
          `left at its default (${defaults[name]}): topkMethod 'greedy' has no groups, ` +
            "'group_limited_greedy' (DeepSeek-V2) and 'noaux_tc' (DeepSeek-V3) have",
          fields[name],
        );
    return;
  }
  const reason = `because topkMethod is '${topkMethod}'`;
  if (nGroup === null || expertNum % nGroup !== 0)
    throw unexpected('nGroup', `a divisor of \`expertNum\` (${expertNum}), ${reason}`, nGroup);
  if (topkGroup === null || topkGroup > nGroup)
    throw unexpected(
      'topkGroup',
      `an integer from 1 to \`nGroup\` (${nGroup}), ${reason}`,
      topkGroup,
    );
  const kept = (expertNum / nGroup) * topkGroup;
  if (numExpertsChosen > kept)
    throw unexpected(
      'numExpertsChosen',
      `at most ${kept}, the number of experts in ${topkGroup} of ${nGroup} groups`,
      numExpertsChosen,
    );
}

function checkLosses(fields: MoEConfigFields): void {
  const { expertNum, expertGroupSize } = fields;
  const types = fields.auxLossTypes ?? [];
  const factors = fields.auxLossFactors ?? [];
  if (types.length !== factors.length)
    throw new ConfigError(
      'Expected `auxLossTypes` and `auxLossFactors` to be lists of the same length, ' +
        `got ${types.length} and ${factors.length} elements`,
    );
  if (types.includes('device') && (expertGroupSize === null || expertNum % expertGroupSize !== 0))
    throw unexpected(
      'expertGroupSize',
      `a divisor of \`expertNum\` (${expertNum}), because the loss type 'device' takes it for the number of ` +
        'groups of experts',
      expertGroupSize,
    );
}
