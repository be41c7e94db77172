import { expect, test } from 'vitest';
import { GrowingLists, jsonOf } from '../../src/server/growing_lists.js';

test('lists that grow are the JSON that they would be at once', () => {
  const [first, second] = [new GrowingLists(), new GrowingLists()];
  first.add({ 'a "list"': [], refusal: null });
  for (let i = 0; i < 3; i++) first.add({ 'a "list"': [{ text: `"${i}\n` }, i], refusal: null });
  second.add({ tokens: ['x'] });
  const around = (one: unknown, other: unknown) => ({
    choices: [{ logprobs: one, text: '"}' }, { logprobs: other }, { logprobs: null }],
    absent: undefined,
  });
  const list = [0, 1, 2].flatMap((i) => [{ text: `"${i}\n` }, i]);
  expect(jsonOf(around(first, second)).toString()).toBe(
    JSON.stringify(around({ 'a "list"': list, refusal: null }, { tokens: ['x'] })),
  );
});

test('an object without lists is its JSON', () => {
  expect(`${jsonOf({ a: [1, 'x'] })}`).toBe('{"a":[1,"x"]}');
});
