import { expectNumber, unexpected } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { checkExtensions } from './check_extensions.js';
import {
  defaults,
  expectField,
  type FieldName,
  fieldNames,
  fieldRows,
  type MoEConfigFields,
  routerRows,
} from './fields.js';

/** Values as they came: of any type, every field present. */
export type RawFields = Readonly<Record<FieldName, unknown>>;

/** The fields that MindFormers checks, in its order. */
const seedFields: readonly FieldName[] = [
  ...(['expertNum', 'capacityFactor', 'auxLossFactor', 'numExpertsChosen'] as const),
  ...(['groupWiseA2a', 'compCommParallel', 'compCommParallelDegree', 'expertGroupSize'] as const),
];

/**
 * Throws `ConfigError` on the first field that cannot describe a layer. MindFormers' eight fields come first, in
 * MindFormers' order; then the type of each later field; then what fields demand of each other.
 */
export function checkFields(raw: RawFields): asserts raw is MoEConfigFields {
  checkSeedFields(raw);
  for (const name of fieldNames) if (!seedFields.includes(name)) expectField(name, raw[name]);
  const fields = raw as MoEConfigFields;
  refuseOtherPolicies(fields);
  checkExtensions(fields);
  const { numExpertsChosen } = fields;
  if (numExpertsChosen > routerRows(fields))
    throw unexpected(
      'numExpertsChosen',
      `at most \`expertNum\` + \`zeroExpertNum\` (${routerRows(fields)})`,
      numExpertsChosen,
    );
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
  for (const name of seedFields)
    if (name === 'capacityFactor' && !isV2) expectNumber(name, raw[name], { above: 0 });
    else expectField(name, raw[name]);
  const { capacityFactor, auxLossFactor, numExpertsChosen, expertNum } = raw as MoEConfigFields;
  if (!isV2 && capacityFactor < 1)
    throw unexpected(
      'capacityFactor',
      "at least 1 with routingPolicy 'TopkRouterV1' ('TopkRouterV2' takes any, and drops nothing at 0 or less)",
      capacityFactor,
    );
  expectNumber('auxLossFactor', auxLossFactor, { below: 1 });
  if (numExpertsChosen > expertNum && raw.zeroExpertNum === defaults.zeroExpertNum)
    throw unexpected('numExpertsChosen', `at most \`expertNum\` (${expertNum})`, numExpertsChosen);
}

function refuseOtherPolicies(fields: MoEConfigFields): void {
  for (const name of fieldNames) {
    const { only = fields.routingPolicy } = fieldRows[name];
    if (only !== fields.routingPolicy && fields[name] !== defaults[name])
      throw unexpected(
        name,
        `left at its default (${defaults[name]}): it has an effect only with routingPolicy '${only}'`,
        fields[name],
      );
  }
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
