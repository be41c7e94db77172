import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

function filesIn(folder: string, ending: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => ending.test(file))
    .map((file) => `${folder}/${file}`);
}

const textOf = (file: string) => readFileSync(join(root, file), 'utf8');
const named: Record<string, string> = {
  standard: '<[a-z_]+>',
  system:
    '<(dlfcn|fcntl|link|unistd|sched|sys/(mman|stat|syscall|sysinfo)|linux/futex|linux/perf_event|cpuid)\\.h>',
};

/** What a file of each folder may include or import; the first folder that fits counts. */
const layers: { folder: string; may: string[]; words: string; never: string }[] = JSON.parse(
  textOf('docs/layers.json'),
);
const allowed = layers.map(({ folder, may }) => {
  const patterns = may.map((pattern) => new RegExp(`^(${named[pattern] ?? pattern})$`));
  return [folder, patterns] as const;
});

/** What of that the table does not allow a file. */
function refused(file: string, whats: string[]): string[] {
  const [, patterns] = allowed.find(([folder]) => file.startsWith(folder)) ?? [];
  expect(patterns).toBeDefined();
  return whats.filter((what) => !patterns?.some((pattern) => pattern.test(what)));
}

describe('the layering of docs/architecture.md holds', () => {
  const files = filesIn('native', /\.(h|cc|cu|cuh)$/);

  test('docs/architecture.md has its table', () => {
    const rows = textOf('docs/architecture.md').split('\n');
    const cells = rows.map((row) => row.split('|').map((cell) => cell.trim()));
    for (const { folder, words, never } of layers)
      expect(cells).toContainEqual(['', `\`${folder}\``, words, never, '']);
  });

  test('there are native files', () => expect(files.length).toBeGreaterThan(40));

  test('clang-tidy looks into every header', () => {
    const [, filter] = /^HeaderFilterRegex: '(.+)'$/m.exec(textOf('.clang-tidy')) ?? [];
    const seen = new RegExp(filter ?? '$.');
    for (const file of files.filter((name) => name.endsWith('.h')))
      expect(join(root, file)).toMatch(seen);
  });

  test.each(files)('%s', (file) => {
    const includes = [...textOf(file).matchAll(/^\s*#\s*include\s+(\S+)/gm)];
    expect(
      refused(
        file,
        includes.map(([, what]) => what as string),
      ),
    ).toEqual([]);
  });

  test.each(filesIn('src', /\.ts$/))('%s', (file) => {
    const imports = [...textOf(file).matchAll(/(?:from|import)\s*\(?'([^']+)'/g)]
      .map(([, what]) => what as string)
      .map((what) => (what.startsWith('.') ? normalize(join(dirname(file), what)) : what))
      .filter((what) => !what.startsWith('node:'));
    expect(refused(file, imports)).toEqual([]);
    if (file !== 'src/binding/native.ts')
      expect(textOf(file)).not.toMatch(/\.node['"]|node-gyp-build/);
  });

  test.each(filesIn('web', /\.ts$/))('%s', (file) => {
    for (const [line, what] of textOf(file).matchAll(/^(?:import|} from).*'([^']+)';$/gm))
      expect(line).toMatch(what?.startsWith('.') ? /^import type .*'\.\.\/src\// : /'echarts\//);
  });

  test.each([...files, ...filesIn('src', /\.ts$/), ...filesIn('web', /\.ts$/)])(
    '%s has at most 400 lines',
    (file) => {
      expect(textOf(file).split('\n').length - 1).toBeLessThanOrEqual(400);
    },
  );
});
