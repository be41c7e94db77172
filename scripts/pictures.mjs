// Draws docs/pictures. `node scripts/pictures.mjs FOLDER` draws them elsewhere: a test compares the two.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { groupWisePicture, overlapPicture, sharedPicture } from './pictures/flow.mjs';
import { routingPicture } from './pictures/routing.mjs';

const folder = process.argv[2] ?? fileURLToPath(new URL('../docs/pictures', import.meta.url));

/** Eight tokens, four experts; expert 0 is everybody's darling. */
const crowded = [
  [3, 2, 0, 0],
  [3, 0, 2, 0],
  [2.5, 0, 0, 2],
  [2, 3, 0, 0],
  [3, 1.5, 0, 0],
  [2.5, 0, 2, 0],
  [0, 0, 2, 3],
  [2, 0, 0, 1],
];
const few = crowded.slice(0, 6);

/** Four tokens, eight experts in four groups. */
const grouped = [
  [3, 0, 2.8, 0, 1, 1, 0, 2],
  [0, 2, 0, 0, 3, 0, 2.9, 0],
  [1, 1, 2, 1.9, 0, 2.2, 0, 0],
  [0, 2.6, 0, 0, 0, 0, 2, 2.5],
];

const v1 = { routingPolicy: 'TopkRouterV1', numExpertsChosen: 2, capacityFactor: 1 };
const v2 = { routingPolicy: 'TopkRouterV2', numExpertsChosen: 2, capacityFactor: 1 };
const free = { ...v2, capacityFactor: -1 };

const load = ({ expertLoad }) => `loads ${Array.from(expertLoad).join(', ')}`;
const loss = (result) => `${load(result)}: loss ${result.auxLoss.toFixed(4)}`;

const pictures = {
  'num-experts-chosen': routingPicture('numExpertsChosen: experts each token takes', few, [
    { title: 'numExpertsChosen: 1', config: { ...free, numExpertsChosen: 1 }, note: load },
    { title: 'numExpertsChosen: 2', config: free, note: load },
  ]),
  'capacity-factor': routingPicture('capacityFactor: slots of an expert', crowded, [
    { title: 'capacityFactor: 1', config: v2 },
    { title: 'capacityFactor: 1.5', config: { ...v2, capacityFactor: 1.5 } },
    { title: 'capacityFactor: -1', config: free },
  ]),
  'expert-group-size': routingPicture('expertGroupSize: tokens that share slots', crowded, [
    { title: 'expertGroupSize: null', config: v2 },
    { title: 'expertGroupSize: 4', config: { ...v2, expertGroupSize: 4 } },
  ]),
  'routing-policy': routingPicture(
    'routingPolicy: what a drop does to the token’s other weight',
    crowded,
    [
      { title: 'TopkRouterV1', config: v1 },
      { title: 'TopkRouterV2', config: v2 },
    ],
  ),
  'enable-sdrop': routingPicture('enableSdrop: who gets the slots', crowded, [
    { title: 'enableSdrop: false', config: v2 },
    { title: 'enableSdrop: true', config: { ...v2, enableSdrop: true } },
  ]),
  'topk-method': routingPicture('topkMethod: experts of the best groups only', grouped, [
    { title: 'greedy', config: free },
    {
      title: 'group_limited_greedy, topkGroup: 1',
      config: { ...free, topkMethod: 'group_limited_greedy', nGroup: 4, topkGroup: 1 },
    },
  ]),
  'balance-via-topk-bias': routingPicture(
    'balanceViaTopkBias: a bias chooses, the score weighs',
    few,
    [
      {
        title: 'balanceViaTopkBias: false',
        config: { ...free, useGatingSigmoid: true },
        note: load,
      },
      {
        title: 'true, bias 0, 0, 0, 0.6',
        config: { ...free, useGatingSigmoid: true, balanceViaTopkBias: true },
        bias: [0, 0, 0, 0.6],
        note: load,
      },
    ],
  ),
  'norm-topk-prob': routingPicture(
    'normTopkProb and routedScalingFactor: what the weights sum to',
    few,
    [
      {
        title: 'normTopkProb: false',
        config: { ...free, normTopkProb: false },
        note: () => 'softmax over all experts',
      },
      { title: 'normTopkProb: true', config: free, note: () => 'weights sum to 1' },
      {
        title: 'routedScalingFactor: 1.5',
        config: { ...free, routedScalingFactor: 1.5 },
        note: () => 'weights sum to 1.5',
      },
    ],
  ),
  'use-gating-sigmoid': routingPicture('useGatingSigmoid: scores that do not compete', few, [
    {
      title: 'useGatingSigmoid: false',
      config: { ...free, normTopkProb: false },
      note: () => 'softmax of the logits',
    },
    {
      title: 'useGatingSigmoid: true',
      config: { ...free, normTopkProb: false, useGatingSigmoid: true },
      note: () => 'sigmoid of each logit',
    },
  ]),
  'aux-loss-factor': routingPicture('auxLossFactor: the price of imbalance', crowded, [
    { title: 'auxLossFactor: 0.05', config: { ...v1, capacityFactor: 4 }, note: loss },
    {
      title: 'auxLossFactor: 0.1',
      config: { ...v1, capacityFactor: 4, auxLossFactor: 0.1 },
      note: loss,
    },
  ]),
  'comp-comm-parallel': overlapPicture(),
  'group-wise-a2a': groupWisePicture(),
  'shared-expert-num': sharedPicture(),
};

mkdirSync(folder, { recursive: true });
for (const [name, picture] of Object.entries(pictures))
  writeFileSync(join(folder, `${name}.svg`), await picture);
