import { unexpected } from '../base/checks.js';
import { defaults, type FieldName, type MoEConfigFields } from './fields.js';

/** Fields that one extension leaves one value only. */
interface Demand {
  readonly of: FieldName;
  readonly when: (fields: MoEConfigFields) => boolean;
  readonly others: Partial<MoEConfigFields>;
}

const isSet =
  (name: FieldName): Demand['when'] =>
  (fields) =>
    fields[name] !== defaults[name];

const isSparsemixer = ({ scoreFunction }: MoEConfigFields): boolean =>
  scoreFunction === 'sparsemixer';

const noGroups = { topkMethod: 'greedy' } as const;
const noBias = { balanceViaTopkBias: false } as const;
const noLosses = { auxLossTypes: null } as const;

const demands: readonly Demand[] = [
  { of: 'scoreFunction', when: isSet('scoreFunction'), others: { useGatingSigmoid: false } },
  {
    of: 'scoreFunction',
    when: isSparsemixer,
    others: {
      ...{ numExpertsChosen: 2, normTopkProb: false, chooseByLogit: false },
      ...{ alwaysChosenExpertNum: 0, ...noGroups, ...noBias, ...noLosses },
    },
  },
  {
    of: 'sparsemixerEpsilon',
    when: isSet('sparsemixerEpsilon'),
    others: { scoreFunction: 'sparsemixer' },
  },
  { of: 'chooseByLogit', when: isSet('chooseByLogit'), others: { ...noGroups, ...noBias } },
  { of: 'normTopkSingle', when: isSet('normTopkSingle'), others: { normTopkProb: true } },
  {
    of: 'zeroExpertNum',
    when: isSet('zeroExpertNum'),
    others: { alwaysChosenExpertNum: 0, ...noGroups, ...noLosses },
  },
  {
    of: 'alwaysChosenExpertNum',
    when: isSet('alwaysChosenExpertNum'),
    others: { expertCapacity: null, ...noGroups, ...noLosses },
  },
];

const literal = (value: unknown): string => (typeof value === 'string' ? `'${value}'` : `${value}`);

/** Throws `ConfigError` where fields beyond MindFormers' and others cannot both be honoured. */
export function checkExtensions(fields: MoEConfigFields): void {
  for (const { of, when, others } of demands)
    if (when(fields))
      for (const [name, value] of Object.entries(others) as [FieldName, unknown][])
        if (fields[name] !== value)
          throw unexpected(
            name,
            `${literal(value)}, because \`${of}\` is ${literal(fields[of])}`,
            fields[name],
          );
  const { alwaysChosenExpertNum, numExpertsChosen, capacityFactor } = fields;
  if (alwaysChosenExpertNum > 0) {
    const reason = `because \`alwaysChosenExpertNum\` is ${alwaysChosenExpertNum}`;
    if (alwaysChosenExpertNum >= numExpertsChosen)
      throw unexpected(
        'alwaysChosenExpertNum',
        `below \`numExpertsChosen\` (${numExpertsChosen}), which counts them`,
        alwaysChosenExpertNum,
      );
    if (capacityFactor > 0)
      throw unexpected('capacityFactor', `0 or less, ${reason}: none is dropped`, capacityFactor);
  }
  if (
    fields.expertCapacity !== null &&
    capacityFactor > 0 &&
    capacityFactor !== defaults.capacityFactor
  )
    throw unexpected(
      'capacityFactor',
      `left at its default, or 0 or less, because \`expertCapacity\` is ${fields.expertCapacity}`,
      capacityFactor,
    );
  if (fields.sharedExpertScale !== defaults.sharedExpertScale && fields.sharedExpertNum === 0)
    throw unexpected(
      'sharedExpertNum',
      `above 0, because \`sharedExpertScale\` is ${fields.sharedExpertScale}`,
      fields.sharedExpertNum,
    );
}
