import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { charts } from '../scripts/performance/charts.mjs';
import { root } from './fixtures/command_line.js';

const results = JSON.parse(readFileSync(join(root, 'docs/performance/results.json'), 'utf8'));
const titleY = 20;

/** Where texts of a chart begin, left and middle. */
function textsOf(svg: string): { x: number; y: number; text: string; centred: boolean }[] {
  const found = svg.matchAll(/<text([^>]*)translate\(([\d.]+) ([\d.]+)\)[^>]*>([^<]+)</g);
  return [...found].map(([, attributes = '', x, y, text = '']) => ({
    x: Number(x),
    y: Number(y),
    text,
    centred: !attributes.includes('text-anchor="start"'),
  }));
}

describe.each([...charts(results)])('the chart %s', (name, svg) => {
  const top = Math.min(
    ...[...svg.matchAll(/d="M[\d.]+ ([\d.]+)L730 \1"/g)].map(([, y]) => Number(y)),
  );
  const legend = textsOf(svg).filter(({ y, centred }) => !centred && y > titleY && y < top);

  test('has room for every name of its legend before the next mark, in wide fonts, too', () => {
    expect(legend.length).toBeGreaterThan(3);
    for (const { x, y, text } of legend) {
      const next = Math.min(
        760,
        ...legend.filter((o) => o.y === y && o.x > x).map((o) => o.x - 30),
      );
      expect(next - x).toBeGreaterThanOrEqual(text.length * 7.2 - 1);
    }
  });

  test('has its legend above the plot', () => {
    expect(Number.isFinite(top)).toBe(true);
    for (const { y } of legend) {
      expect(y).toBeLessThan(top - 8);
      expect(y).toBeGreaterThan(titleY + 18);
    }
  });

  test('is the one of the documentation', () => {
    expect(readFileSync(join(root, `docs/performance/${name}.svg`), 'utf8')).toBe(svg);
  });
});
