import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadTable, summarize } from '../../src/cli/expert_load.js';
import { bar, bytes, facts, ranges, significant, table, wrap } from '../../src/cli/text.js';
import { floatValues } from '../../src/layer/float_values.js';
import { nodeMoe, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

test('a bar is drawn to an eighth of a character and never vanishes for what is not 0', () => {
  expect(bar(1, 4)).toBe('████');
  expect(bar(0.5, 4)).toBe('██');
  expect(bar(0.28125, 4)).toBe('█▏');
  expect(bar(0.0001, 4)).toBe('▏');
  expect(bar(0, 4)).toBe('');
  expect(bar(2, 4)).toBe('████');
});

test('a table aligns numbers to the right and text to the left', () => {
  const text = table(
    [{ title: 'name', align: 'left' }, { title: 'n' }],
    [
      ['a', '1'],
      ['bcdef', '100'],
    ],
  );
  expect(text).toBe('  name     n\n  a        1\n  bcdef  100');
});

test('a table that does not fit becomes a block for each row', () => {
  const columns = [{ title: 'name', align: 'left' as const }, { title: 'n' }];
  const rows = [
    ['a', '1'],
    ['several words of text', '100'],
  ];
  expect(table(columns, rows, 20)).toBe(
    '  name  a\n  n     1\n\n  name  several\n        words of\n        text\n  n     100',
  );
});

test('a long value goes on under itself', () => {
  expect(facts([['key', 'one two three']], 15)).toBe('  key  one two\n       three');
  expect(wrap('a longestword b', 5)).toBe('a\nlongestword\nb');
});

const activations = `${tinyMixtral}/activations.safetensors`;
const tinyBench = ['--hidden', '64', '--intermediate', '32', '--tokens', '1', '--seconds', '0.02'];
const outputs: [args: string[], says: RegExp][] = [
  [['devices'], /cpu/],
  [['inspect', tinyMixtral], /mixtral/],
  [['run', tinyMixtral, '--layer', '0', '--input', activations, '--expect'], /imbalance/],
  [['bench', ...tinyBench, '--event-loop', '0.1'], /float32/],
  [['pack', tinyMixtral, '--out', 'OUT', '--layer', '0'], /packed/],
];
test.each(
  outputs.flatMap(([args, says]) => ['40', '80', ''].map((width) => ({ width, args, says }))),
)(
  'what $args.0 prints fits into $width columns',
  { timeout: 60_000 },
  async ({ width, args, says }) => {
    const out = join(await temporaryFolder(), 'packed.safetensors');
    const given = args.map((argument) => (argument === 'OUT' ? out : argument));
    const { stdout } = await nodeMoe(given, { COLUMNS: width });
    expect(stdout).toMatch(says);
    const columns = Number(width) || 80;
    // A path is one word, which is not broken, and so is a tensor's name.
    const isLong = (line: string) => /\/\S+\//.test(line) || /^ *\S+$/.test(line);
    const lines = stdout.split('\n').filter((line) => !isLong(line));
    expect(lines.filter((line) => line.length > columns)).toEqual([]);
  },
);

const commands = [
  '',
  ...['devices', 'inspect', 'run', 'report', 'pack', 'bench', 'bench-model', 'worker'],
];
test.each(commands)('help of "%s" fits into few columns', { timeout: 60_000 }, async (command) => {
  const args = [...(command ? [command] : []), '--help'];
  const help = async (width: number) => (await nodeMoe(args, { COLUMNS: `${width}` })).stdout;
  const words = (text: string) => text.split(/\s+/);
  const wide = await help(200);
  expect(wide).toContain(`Usage: node-moe ${command}`);
  for (const width of [80, 60, 40]) {
    const narrow = await help(width);
    expect.soft(narrow.split('\n').filter((line) => line.length > width)).toEqual([]);
    expect.soft(words(narrow), `${width} columns`).toEqual(words(wide));
  }
});

test('runs of numbers are written as ranges', () => {
  expect(ranges([0, 1, 2, 5, 7, 8])).toBe('0-2, 5, 7-8');
  expect(ranges([])).toBe('');
});

test('numbers keep three significant digits', () => {
  expect([0, 0.01234, 1.234, 12.34, 123.4, 12345.6].map(significant)).toEqual([
    '0',
    '0.0123',
    '1.23',
    '12.3',
    '123',
    '12346',
  ]);
});

test('bytes come in the unit that keeps them short', () => {
  expect([0, 1023, 1024, 1536 * 1024, 20 * 2 ** 30].map(bytes)).toEqual([
    '0 B',
    '1023 B',
    '1.00 KiB',
    '1.50 MiB',
    '20.0 GiB',
  ]);
});

test('16-bit floats widen exactly, infinities and subnormals included', () => {
  const half = Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x7e00);
  expect([...floatValues({ dtype: 'float16', shape: [6], data: half })]).toEqual([
    1,
    -2,
    65504,
    2 ** -24,
    Infinity,
    NaN,
  ]);
  const brain = Uint16Array.of(0x3f80, 0xc000, 0x0001, 0xff80);
  expect([...floatValues({ dtype: 'bfloat16', shape: [4], data: brain })]).toEqual([
    1,
    -2,
    2 ** -133,
    -Infinity,
  ]);
});

test('the load’s summary names the busiest expert, the unused ones and the imbalance', () => {
  expect(summarize([4, 0, 12, 0])).toEqual({
    served: 16,
    imbalance: 3,
    busiest: 2,
    unused: [1, 3],
  });
  expect(summarize([0, 0])).toEqual({ served: 0, imbalance: 0, busiest: 0, unused: [0, 1] });
});

test('of many experts the busiest are drawn and the rest is summed up', () => {
  const load = Array.from({ length: 128 }, (_, expert) => expert);
  const lines = loadTable(load).split('\n');
  expect(lines).toHaveLength(1 + 32 + 1);
  expect(lines[1]).toMatch(/^ +127 +127 /);
  expect(lines.at(-1)).toMatch(/96 more experts with 56\.1 % of the load/);
});
