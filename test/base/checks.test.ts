import { describe, expect, test } from 'vitest';
import {
  describe as describeValue,
  expectBoolean,
  expectInteger,
  expectKnownNames,
  expectNumber,
  expectObject,
  expectOneOf,
  nearestName,
} from '../../src/base/checks.js';
import { ConfigError } from '../../src/base/errors.js';

function messageOf(run: () => void): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  return 'no error';
}

describe('describe', () => {
  test.each([
    [9, '`9` (number)'],
    [Number.NaN, '`NaN` (number)'],
    [9n, '`9` (bigint)'],
    [true, '`true` (boolean)'],
    ['a "b"\nc', '`a \\"b\\"\\nc` (string)'],
    ['x'.repeat(1000), `\`${'x'.repeat(60)}…\` (string)`],
    [null, '`null`'],
    [undefined, '`undefined`'],
    [[1, 2], 'an array of 2'],
    [{ toString: () => 'hidden' }, '(object)'],
    [() => 1, '(function)'],
    [Symbol('s'), '`Symbol(s)` (symbol)'],
  ])('shows %s with its type', (value, text) => {
    expect(describeValue(value)).toBe(text);
  });
});

describe('expectInteger', () => {
  test.each([1, 8, 3])('takes %s in 1 to 8', (value) => {
    expect(messageOf(() => expectInteger('topK', value, 1, 8))).toBe('no error');
  });

  test.each([0, 9, 1.5, Number.NaN, Infinity, '3', true, null, 3n])(
    'refuses %s in 1 to 8',
    (value) => {
      expect(messageOf(() => expectInteger('topK', value, 1, 8))).toBe(
        `Expected \`topK\` to be an integer from 1 to 8, got ${describeValue(value)}`,
      );
    },
  );

  test('without an upper bound refuses what a double cannot count', () => {
    expect(messageOf(() => expectInteger('tokens', 2 ** 53, 1))).toBe(
      'Expected `tokens` to be an integer of at least 1, got `9007199254740992` (number)',
    );
  });
});

describe('expectNumber', () => {
  test('excludes above and below, includes atLeast', () => {
    expect(messageOf(() => expectNumber('x', 0, { atLeast: 0 }))).toBe('no error');
    expect(messageOf(() => expectNumber('x', 0, { above: 0, below: 1 }))).toBe(
      'Expected `x` to be a finite number above 0 and below 1, got `0` (number)',
    );
    expect(messageOf(() => expectNumber('x', 1, { above: 0, below: 1 }))).toContain('got `1`');
    expect(messageOf(() => expectNumber('x', -1, { atLeast: 0 }))).toBe(
      'Expected `x` to be a finite number of at least 0, got `-1` (number)',
    );
  });

  test.each([Number.NaN, Infinity, '1', null, 1n])('refuses %s', (value) => {
    expect(messageOf(() => expectNumber('x', value))).toBe(
      `Expected \`x\` to be a finite number, got ${describeValue(value)}`,
    );
  });
});

test.each([0, 1, 'true', null])('expectBoolean refuses %s', (value) => {
  expect(messageOf(() => expectBoolean('flag', value))).toBe(
    `Expected \`flag\` to be true or false, got ${describeValue(value)}`,
  );
});

test.each([null, [], 'text', 5])('expectObject refuses %s', (value) => {
  expect(messageOf(() => expectObject('options', value))).toContain(
    'Expected `options` to be an object',
  );
});

test('expectOneOf names the nearest choice', () => {
  expect(
    messageOf(() => expectOneOf('policy', 'TopKRouterV2', ['TopkRouterV1', 'TopkRouterV2'])),
  ).toBe(
    "Expected `policy` to be 'TopkRouterV1' or 'TopkRouterV2', got `TopKRouterV2` (string): did you mean 'TopkRouterV2'?",
  );
  expect(messageOf(() => expectOneOf('policy', 5, ['TopkRouterV1']))).toBe(
    "Expected `policy` to be 'TopkRouterV1', got `5` (number)",
  );
});

describe('nearestName', () => {
  const known = ['expertNum', 'numExpertsChosen', 'nGroup', 'topkGroup'];

  test.each([
    ['expertNumm', 'expertNum'],
    ['ExpertNum', 'expertNum'],
    ['expretNum', 'expertNum'],
    ['numExpertChosen', 'numExpertsChosen'],
    ['ngroups', 'nGroup'],
    ['expert_num', 'expertNum'],
  ])('finds what %s was meant to be', (name, meant) => {
    expect(nearestName(name, known)).toBe(meant);
  });

  test.each(['banana', '', 'x', 'x'.repeat(10_000)])('finds nothing near %s', (name) => {
    expect(nearestName(name, known)).toBeUndefined();
  });
});

test('expectKnownNames lists the known names when none is near', () => {
  expect(messageOf(() => expectKnownNames('Layer', { banana: 1 }, ['device', 'threads']))).toBe(
    'Expected an option of Layer, got `banana` (string): known are device, threads',
  );
});
