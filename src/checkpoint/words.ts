import type { MoEConfig } from '../config/config.js';
import { defaults, type FieldName } from '../config/fields.js';
import type { Layout } from '../families/layout.js';
import type { Description } from './description.js';

/** An MoE layer for people. */
export interface LayerWords {
  /** How experts are chosen and weighed. */
  readonly router: string;
  /** What they compute, their sizes, and how they are stored. */
  readonly experts: string;
  /** Null without one. */
  readonly sharedExpert: string | null;
  /** What of the layer is around the block, and the caller's; null where nothing is known to be. */
  readonly around: string | null;
}

/** What a layer's router, experts and shared expert are, in words. */
export function inWords(
  { config, experts: computed, ...sizes }: Description,
  layout: Layout | undefined,
  around: string | undefined,
): LayerWords {
  const { hiddenSize, intermediateSize, sharedSize } = sizes;
  const { activation, latentSize, ...more } = computed;
  const between = `${latentSize ?? hiddenSize} to ${intermediateSize} and back`;
  const limits = Object.entries(more)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${value}`);
  const latent = latentSize === undefined ? [] : [`between projections from ${hiddenSize}`];
  const stored = layout === undefined ? 'packed' : `stored as ${layout.name.replaceAll('`', '')}`;
  return {
    router: routerWords(config),
    experts: list([
      `${config.expertNum} of ${activation}, ${between}`,
      ...limits,
      ...latent,
      stored,
    ]),
    sharedExpert:
      sharedSize === 0
        ? null
        : list([
            `one of width ${sharedSize}`,
            ...(config.useSharedExpertGating ? ['scaled by the sigmoid of its own router'] : []),
          ]),
    around: around?.replaceAll('`', '') ?? null,
  };
}

const list = (parts: readonly string[]) => parts.join(', ');

function routerWords(config: MoEConfig): string {
  const { numExpertsChosen: K, expertNum, topkMethod, nGroup, topkGroup } = config;
  const scores = config.scoreFunction ?? (config.useGatingSigmoid ? 'sigmoid' : 'softmax');
  const sum = config.normTopkEpsilon === 0 ? 'their sum' : `their sum + ${config.normTopkEpsilon}`;
  return list([
    `${scores} scores, ${K} of ${expertNum} experts`,
    ...(config.balanceViaTopkBias ? ['chosen by score plus bias'] : []),
    ...(topkMethod === 'greedy'
      ? []
      : [`out of the best ${topkGroup} of ${nGroup} groups (${topkMethod})`]),
    config.normTopkProb && (K > 1 || config.normTopkSingle)
      ? `weights divided by ${sum}`
      : 'weights as they are',
    ...(config.routedScalingFactor === 1 ? [] : [`times ${config.routedScalingFactor}`]),
    ...spoken
      .filter((name) => config[name] !== defaults[name])
      .map((name) => `${name} ${config[name]}`),
  ]);
}

/** Fields that only some families have: they name themselves where they differ from their default. */
const spoken: readonly FieldName[] = [
  ...(['logitSoftCap', 'chooseByLogit', 'zeroExpertNum', 'alwaysChosenExpertNum'] as const),
  ...(['weightOnInput', 'sharedExpertScale', 'expertCapacity'] as const),
];
