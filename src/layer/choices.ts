import { isInt32Array } from 'node:util/types';
import { describe } from '../base/checks.js';
import { ConfigError, ShapeError } from '../base/errors.js';
import type { MoEConfig } from '../config/config.js';
import { routerRows } from '../config/fields.js';
import { expectFixedMemory } from './tensor_views.js';

/** Choices that a call brings along. */
export interface GivenChoices {
  experts?: Int32Array | undefined;
  tokenIds?: Int32Array | undefined;
}

/** What choices are given to. */
interface ChoosingLayer {
  readonly config: MoEConfig;
  /** `[V, K]`: the experts of each token id. */
  readonly expertTable?: Int32Array | undefined;
}

export function expectInt32Array(name: string, value: unknown): asserts value is Int32Array {
  if (!isInt32Array(value))
    throw new ShapeError(`Expected \`${name}\` to be an Int32Array, got ${describe(value)}`);
  expectFixedMemory(name, value);
}

/** A table of the layer's own: the user's array may change. */
export function tableOf(table: Int32Array): Int32Array {
  expectInt32Array('weights.expertTable', table);
  return table.slice();
}

/** Throws `ConfigError` unless the layer has a router of `TopkRouterV2`, which alone knows of `what`. */
export function expectRouter(what: string, config: MoEConfig): void {
  const none = (why: string) => new ConfigError(`Expected no \`${what}\`: ${why}`);
  if (config.routingPolicy !== 'TopkRouterV2')
    throw none(
      `it has an effect only with routingPolicy 'TopkRouterV2', got '${config.routingPolicy}'`,
    );
  if (routerRows(config) === 1) throw none('there is one expert, and no router');
}

/** Throws `ConfigError` unless the layer's router can weigh choices that it has not made. */
export function expectGivenChoices(what: string, config: MoEConfig): void {
  expectRouter(what, config);
  const { scoreFunction, alwaysChosenExpertNum, auxLossTypes } = config;
  const none = (why: string) => new ConfigError(`Expected no \`${what}\`: ${why}`);
  if (scoreFunction === 'sparsemixer')
    throw none("`scoreFunction` is 'sparsemixer', whose weights come of its own choice");
  if (alwaysChosenExpertNum > 0)
    throw none(`\`alwaysChosenExpertNum\` is ${alwaysChosenExpertNum}: those would be chosen, too`);
  if (auxLossTypes !== null && auxLossTypes.length > 0)
    throw none('`auxLossTypes` ask how well the router balances its own choices');
}

/** Throws `ShapeError` unless these are K experts of the layer, some times over. */
export function checkChoices(what: string, choices: Int32Array, config: MoEConfig): void {
  const { numExpertsChosen } = config;
  if (choices.length % numExpertsChosen !== 0)
    throw new ShapeError(
      `Expected the length of \`${what}\` to be a multiple of numExpertsChosen ${numExpertsChosen}, got ${choices.length}`,
    );
  expectBelow(what, choices, routerRows(config), 'an expert');
}

/** The experts of each token, `[T, K]`, where a call or the layer's table says them. */
export function choicesOf(
  { experts, tokenIds }: GivenChoices,
  tokens: number,
  { config, expertTable }: ChoosingLayer,
): Int32Array | undefined {
  if (experts !== undefined) {
    if (tokenIds !== undefined)
      throw new ConfigError('Expected `experts` or `tokenIds`, got both: each says the choices');
    expectGivenChoices('experts', config);
    const slots = tokens * config.numExpertsChosen;
    if (experts.length !== slots)
      throw new ShapeError(
        `Expected \`experts\` to hold ${slots} values, numExpertsChosen ${config.numExpertsChosen} for each of ` +
          `${tokens} tokens, got ${experts.length}`,
      );
    checkChoices('experts', experts, config);
    return experts;
  }
  if (expertTable === undefined) {
    if (tokenIds === undefined) return undefined;
    throw new ConfigError('Expected no `tokenIds`: the layer has no `weights.expertTable`');
  }
  if (tokenIds === undefined) {
    if (tokens === 0) return undefined; // as a rank without tokens calls
    throw new ConfigError(
      'Expected `tokenIds`, or `experts`: the layer chooses by its `weights.expertTable`',
    );
  }
  if (tokenIds.length !== tokens)
    throw new ShapeError(
      `Expected \`tokenIds\` to hold a value for each of ${tokens} tokens, got ${tokenIds.length}`,
    );
  const each = config.numExpertsChosen;
  expectBelow('tokenIds', tokenIds, expertTable.length / each, 'a row of `weights.expertTable`');
  const choices = new Int32Array(tokens * each);
  tokenIds.forEach((id, token) => {
    choices.set(expertTable.subarray(id * each, (id + 1) * each), token * each);
  });
  return choices;
}

function expectBelow(what: string, values: Int32Array, count: number, meaning: string): void {
  const wrong = values.findIndex((value) => value < 0 || value >= count);
  if (wrong >= 0)
    throw new ShapeError(
      `Expected \`${what}[${wrong}]\` to be ${meaning}, from 0 to ${count - 1}, got ${values[wrong]}`,
    );
}
