import { deepseekRows } from './deepseek.js';
import { mindformers } from './layouts.js';
import { otherRows } from './other_routers.js';
import { qwenRows } from './qwen.js';
import type { FamilyRow, RefusedRow } from './row.js';
import { sigmoidRows } from './sigmoid.js';
import { softmaxRows } from './softmax.js';

/** Every family of MoE layers that is loaded. */
export const familyRows: readonly FamilyRow[] = [
  ...softmaxRows,
  ...qwenRows,
  ...deepseekRows,
  ...sigmoidRows,
  ...otherRows,
];

/** Families that no layer can be made of. */
export const refusedRows: readonly RefusedRow[] = [
  {
    modelTypes: ['zaya'],
    models: 'Zaya1',
    refused: 'its routers are networks that take the state of the layer before',
  },
  {
    modelTypes: ['doge'],
    models: 'Doge',
    refused: 'its experts are one row each, found by product keys, beside a dense block',
  },
];

/** What MindFormers writes: its `config.json` says how layers route, and nothing else tells models apart. */
export const mindformersRow: Pick<FamilyRow, 'modelTypes' | 'models' | 'evidence' | 'layouts'> = {
  modelTypes: [],
  models: 'MindFormers',
  evidence: 'sources only',
  layouts: mindformers,
};

/** The rows of a `model_type`: several where a checkpoint has several stacks. */
export const rowsOf = (modelType: unknown): readonly FamilyRow[] =>
  familyRows.filter(({ modelTypes }) => modelTypes.includes(modelType as string));

export const knownModelTypes: readonly string[] = [
  ...new Set(familyRows.flatMap(({ modelTypes }) => modelTypes)),
];
