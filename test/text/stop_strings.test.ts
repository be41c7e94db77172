import { expect, test } from 'vitest';
import { StopStrings } from '../../src/text/stop_strings.js';

/** Feeds a text in pieces of a size. */
function run(
  stops: string[],
  text: string,
  size: number,
): [text: string, stop: string | undefined] {
  const strings = new StopStrings(stops);
  let all = '';
  for (let at = 0; at < text.length; at += size) {
    const { text: sure, stop } = strings.push(text.slice(at, at + size));
    all += sure;
    if (stop !== undefined) return [all, stop];
  }
  return [all + strings.end(), undefined];
}

test.each<[string[], string, string, string | undefined]>([
  [['END'], 'some text END more', 'some text ', 'END'],
  [['END'], 'EENEND', 'EEN', 'END'],
  [['END'], 'EN', 'EN', undefined],
  [[], 'text', 'text', undefined],
  [['\n\n', 'User:'], 'a\nUser: b', 'a\n', 'User:'],
  [['aab', 'ab'], 'xaab', 'x', 'aab'],
  [['abc', 'b'], 'abx', 'a', 'b'],
])('%j in %j', (stops, text, before, stop) => {
  for (const size of [1, 2, 3, 100]) expect(run(stops, text, size)).toEqual([before, stop]);
});
