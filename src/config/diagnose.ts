import { defaults, limitsSlots, type MoEConfigFields, routerRows } from './fields.js';
import type { ParallelSizes } from './native.js';

/** As kMaxChunks in native/core/ranks/expert_group.h. */
const maxChunks = 16;

type Sentence = [applies: boolean, sentence: string];

/** Fields that have no effect where there is only one expert. */
const choosing = [
  'capacityFactor',
  'auxLossFactor',
  'expertGroupSize',
  'routingPolicy',
  'useGatingSigmoid',
  'normTopkProb',
  'normTopkEpsilon',
  'routedScalingFactor',
  'enableSdrop',
  'auxLossTypes',
  'zLossFactor',
  'scoreFunction',
  'logitSoftCap',
  'chooseByLogit',
  'normTopkSingle',
  'weightOnInput',
  'expertCapacity',
] as const satisfies readonly (keyof MoEConfigFields)[];

const oneProcess = { modelParallel: 1, expertParallel: 1 };

/** One sentence for each field that differs from its default and changes nothing next to the others. */
export function diagnose(config: MoEConfigFields, parallel: ParallelSizes = oneProcess): string[] {
  const sentences = [
    ...betweenRanks(config, parallel),
    ...(routerRows(config) === 1 ? withOneExpert(config) : amongExperts(config)),
  ];
  return sentences.filter(([applies]) => applies).map(([, sentence]) => sentence);
}

const isV2 = (config: MoEConfigFields) => config.routingPolicy === 'TopkRouterV2';
const isDropless = (config: MoEConfigFields) => !limitsSlots(config);

function betweenRanks(
  config: MoEConfigFields,
  { modelParallel, expertParallel }: ParallelSizes,
): Sentence[] {
  const rounds =
    isV2(config) && config.expertCapacity === null && !isDropless(config) && routerRows(config) > 1;
  const overlaps = expertParallel > 1;
  return [
    [
      config.groupWiseA2a && modelParallel === 1,
      '`groupWiseA2a` changes how ranks exchange rows, never the result, and needs model parallelism.',
    ],
    [
      config.compCommParallel && rounds && !overlaps,
      '`compCommParallel` only rounds capacity up to a multiple of `compCommParallelDegree` in a single process.',
    ],
    [
      config.compCommParallel && !rounds && !overlaps,
      '`compCommParallel` overlaps communication and experts, never changes the result, and needs several processes.',
    ],
    [
      config.compCommParallel && overlaps && config.compCommParallelDegree > maxChunks,
      `\`compCommParallelDegree\` has no effect beyond ${maxChunks}: a batch travels in at most so many pieces.`,
    ],
    [
      !config.compCommParallel && config.compCommParallelDegree !== defaults.compCommParallelDegree,
      '`compCommParallelDegree` has an effect only with `compCommParallel`.',
    ],
  ];
}

function withOneExpert(config: MoEConfigFields): Sentence[] {
  return choosing.map((name) => [
    config[name] !== defaults[name],
    `\`${name}\` has no effect with one expert: the layer is a plain feed-forward layer then.`,
  ]);
}

function amongExperts(config: MoEConfigFields): Sentence[] {
  const chooseSeveral = config.numExpertsChosen > 1;
  const normalises = config.normTopkProb && (chooseSeveral || config.normTopkSingle);
  const hasLosses =
    !isV2(config) || (config.auxLossTypes ?? []).length > 0 || config.zLossFactor !== 0;
  return [
    [
      isV2(config) && config.auxLossFactor !== defaults.auxLossFactor,
      "`auxLossFactor` has an effect only with routingPolicy 'TopkRouterV1'; 'TopkRouterV2' has `auxLossFactors`.",
    ],
    [
      config.expertGroupSize !== null && isDropless(config) && !hasLosses,
      '`expertGroupSize` has no effect without a capacity or a loss.',
    ],
    [
      config.enableSdrop && isDropless(config),
      '`enableSdrop` has no effect when `capacityFactor` lets no choice be dropped.',
    ],
    [
      config.enableSdrop && !isDropless(config) && !chooseSeveral,
      '`enableSdrop` has no effect when a token chooses one expert.',
    ],
    [
      !config.normTopkProb && !chooseSeveral,
      '`normTopkProb` has no effect when a token chooses one expert.',
    ],
    [
      config.normTopkEpsilon !== defaults.normTopkEpsilon && !normalises,
      '`normTopkEpsilon` has no effect when weights are not normalised.',
    ],
    [
      config.normTopkSingle && chooseSeveral,
      '`normTopkSingle` has no effect when a token chooses several experts.',
    ],
    [
      config.topkGroup !== null && config.topkGroup === config.nGroup,
      '`topkMethod` has no effect when `topkGroup` keeps all of the `nGroup` groups.',
    ],
  ];
}
