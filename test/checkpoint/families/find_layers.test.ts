import { describe, expect, test } from 'vitest';
import { type FoundLayers, findLayers } from '../../../src/checkpoint/families/find_layers.js';
import { rowsOf } from '../../../src/families/families.js';

/** Names of a layer's tensors: router and one expert of `mlp`. */
const qwen = [
  'gate.weight',
  ...['gate', 'up', 'down'].map((name) => `experts.0.${name}_proj.weight`),
];
const layer = (root: string, number: number) =>
  qwen.map((name) => `${root}layers.${number}.mlp.${name}`);
const numbers = ({ layers }: FoundLayers) => [...layers.keys()];
const every = { count: 2, keys: ['mlp_only_layers'], isSparse: () => true };

describe('layers', () => {
  test('behind the last predict further tokens, as stacks called mtp do', () => {
    const names = [0, 1, 2].flatMap((number) => layer('model.', number));
    const further = [...layer('mtp.', 0), ...layer('model.mtp_', 0)];
    const rows = rowsOf('qwen3_moe');
    const found = findLayers('x', [...names, ...further], { rows, layersOf: () => every });
    expect(numbers(found)).toEqual([0, 1]);
  });

  test('stand where the config says', () => {
    const dense = { ...every, isSparse: (number: number) => number !== 1 };
    const names = [0, 1].flatMap((number) => layer('model.', number));
    const find = () => findLayers('x', names, { rows: rowsOf('qwen3_moe'), layersOf: () => dense });
    expect(find).toThrow(/where its config says so \(`mlp_only_layers`\), got one in layer 1/);
  });
});

describe('without a model type', () => {
  test('families that read the same tensors alike are one', () => {
    const found = findLayers('x', layer('model.', 0));
    expect(found.layout.router.name).toBe('mlp.gate.weight');
  });

  test('a tensor that only one family has decides', () => {
    const bias = 'model.layers.0.mlp.e_score_correction_bias';
    const found = findLayers('x', [...layer('model.', 0), bias]);
    expect(found.row.modelTypes).toEqual(['exaone_moe']);
  });

  test('tensors that families read differently are an error that names both', () => {
    const names = ['router.weight', 'router.bias', 'experts.gate_up_proj', 'experts.down_proj'];
    const biases = ['experts.gate_up_proj_bias', 'experts.down_proj_bias'];
    const all = [...names, ...biases].map((name) => `model.layers.0.mlp.${name}`);
    expect(() => findLayers('x', all)).toThrow(
      /config\.json with a `model_type`.* gpt_oss or of openai_privacy_filter/,
    );
  });
});

describe('several stacks', () => {
  const names = [...layer('thinker.model.', 0), ...layer('talker.model.', 3)];
  const rows = rowsOf('qwen3_omni_moe');

  test('are told apart by name', () => {
    expect(numbers(findLayers('x', names, { rows, stack: 'talker' }))).toEqual([3]);
    expect(numbers(findLayers('x', names, { rows, stack: 'thinker' }))).toEqual([0]);
  });

  test.each([undefined, 'speaker'])('`stack` %s is an error that names them', (stack) => {
    const message = "Expected `stack` to be 'thinker' or 'talker'";
    expect(() => findLayers('x', names, { rows, stack })).toThrow(message);
  });

  test('of one family are named by what their names begin with', () => {
    const two = [...layer('a.', 0), ...layer('b.', 1)];
    expect(numbers(findLayers('x', two, { rows: rowsOf('olmoe'), stack: 'b' }))).toEqual([1]);
    expect(() => findLayers('x', two, { rows: rowsOf('olmoe') })).toThrow("'a' or 'b'");
  });

  test('one that is there needs no name', () => {
    expect(findLayers('x', layer('talker.model.', 0), { rows }).stack).toBe('talker');
  });
});
