// Every code block of the documentation is run: programs against the real package with types checked, JavaScript as it
// stands and TypeScript as it is compiled, commands in a shell, YAML and JSON by their parsers. Only what is named below is run elsewhere.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { MoEConfig } from '../../src/index.js';
import { activations, root, tinyMixtral } from '../fixtures/command_line.js';
import { codeBlocks } from './markdown.js';

/** Commands that are run by another test, or are the tests. */
const elsewhere: [command: RegExp, where: string][] = [
  [/^make (\w+)/, 'a target of the Makefile'],
  [/^npm (run|test)\b/, 'a script of package.json'],
  [/^(npm (install|i|ci|rebuild|pack)|yarn|pnpm|apt-get|apk|sudo)\b/, 'test/install'],
  [/^(npx |MOE_CPU_ISA=avx2 )?node-moe bench\b/, 'test/cli/bench.test.ts'],
  [/^node dist\/cli\/main\.js bench\b/, 'test/cli/bench.test.ts'],
  [/^node scripts\/ranks-\w+\.mjs\b/, 'test/scripts/ranks_scripts.test.ts'],
  [/^node scripts\/weight-types\.mjs\b/, 'test/scripts/weight_types.test.ts'],
  [/^(npx )?node-moe serve\b/, 'test/server/serve_process.test.ts'],
  [/^node \S*\/serving\/server\.mjs\b/, 'test/examples/serving_process.test.ts'],
  [/^node-moe devices --check\b/, 'test/cli/check.test.ts'],
  [/^source \/usr\/local\/Ascend\b/, 'a machine with CANN'],
  [/^node-moe worker\b/, 'test/cli/ranks.test.ts'],
  [/^curl\b/, 'test/examples/serving.test.ts asks the same with fetch'],
  [
    /^(npx )?node-moe devices --check\b/,
    'the tests of the check: here there may be nothing to check',
  ],
  [/^source \/usr\/local\/Ascend\b/, 'nowhere: it is for machines with CANN'],
  [/^(npx )?node-moe worker\b/, 'the tests of ranks: it waits for the others'],
  [/^(srun|sbatch|kubectl|systemctl|#SBATCH)\b/, 'nowhere: it is for clusters and services'],
  [/^(cmake|ctest|git|ccache)\b/, 'the build'],
];

/** Languages of blocks that show something and cannot be run. */
const shown = ['', 'text', 'console', 'diff', 'cpp', 'c', 'cmake', 'prometheus', 'html', 'ini'];

const documents = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'bench/README.md'].concat(
  readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => `docs/${file}`),
);
const blocks = documents.flatMap((file) =>
  codeBlocks(file, readFileSync(join(root, file), 'utf8')).map((block) => ({ ...block, file })),
);
const programs = blocks.filter(({ language }) => ['ts', 'js', 'mjs'].includes(language));

/** Inside the package, so that blocks import it by its name. */
const built = join(root, 'build/docs-test');
const nameOf = (place: string) => place.replace(/\W+/g, '-');

/** The small model as one that can be talked with, for longer than it was trained. */
function chatModel(folder: string): void {
  cpSync(join(root, tinyMixtral), folder, { recursive: true });
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ ...config, max_position_embeddings: 4096 }),
  );
  writeFileSync(
    join(folder, 'chat_template.jinja'),
    '{% for m in messages %}{{ m.content }}\n{% endfor %}',
  );
}

/** A folder with what the documentation speaks of. */
function workspace(): string {
  const folder = join(built, 'workspace');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'bin'), { recursive: true });
  mkdirSync(join(folder, 'checkpoints'));
  for (const name of ['checkpoints/olmoe-1b-7b', 'checkpoints/mixtral-8x7b'])
    symlinkSync(join(root, tinyMixtral), join(folder, name));
  chatModel(join(folder, 'checkpoints/Qwen3-30B-A3B'));
  symlinkSync(join(folder, 'checkpoints/Qwen3-30B-A3B'), join(folder, 'CHECKPOINT'));
  writeFileSync(
    join(folder, 'held-out.txt'),
    'And God said, Let there be light: and there was light.\n',
  );
  copyFileSync(join(root, activations), join(folder, 'x.safetensors'));
  copyFileSync(join(root, tinyMixtral, 'config.json'), join(folder, 'config.json'));
  writeFileSync(
    join(folder, 'moe.yaml'),
    'moe_config:\n  expert_num: 8\n  num_experts_chosen: 2\n',
  );
  const command = `#!/bin/sh\nexec "${process.execPath}" "${root}/dist/cli/main.js" "$@"\n`;
  writeFileSync(join(folder, 'bin/node-moe'), command, { mode: 0o755 });
  writeFileSync(join(folder, 'bin/npx'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
  symlinkSync(join(root, 'dist'), join(folder, 'dist'));
  symlinkSync(join(root, 'test'), join(folder, 'test'));
  return folder;
}

let folder: string;

beforeAll(() => {
  rmSync(built, { recursive: true, force: true });
  folder = workspace();
}, 60_000);

/** Where a program is run: JavaScript as a reader pastes it, TypeScript as the compiler leaves it. */
const fileOf = ({ place, language }: (typeof programs)[number]) =>
  join(built, language === 'ts' ? 'out/build/docs-test' : '.', `${nameOf(place)}.mjs`);

/** Compiles all programs in one go, for their types. Returns the complaints. */
function compile(): string {
  for (const program of programs) {
    const { place, code, language } = program;
    writeFileSync(join(built, `${nameOf(place)}.mts`), `${code}\nexport {};\n`);
    if (language !== 'ts') writeFileSync(fileOf(program), code);
  }
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: {
      rootDir: '../..',
      outDir: '.',
      declaration: false,
      sourceMap: false,
      exactOptionalPropertyTypes: false,
      skipLibCheck: true,
      noUnusedLocals: false,
    },
    include: ['*.mts', '../../test/docs/prelude.d.ts'],
  };
  writeFileSync(join(built, 'tsconfig.json'), JSON.stringify(config));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '-p', '.', '--outDir', 'out', '--rootDir', '../..'];
  const { stdout } = spawnSync(process.execPath, args, { cwd: built, encoding: 'utf8' });
  return stdout.replaceAll(/^(\S+?)\.mts/gm, '$1');
}

describe('programs of the documentation', () => {
  let complaints: string;
  beforeAll(() => {
    complaints = compile();
  }, 120_000);

  test('are typed', () => expect(complaints).toBe(''));

  test('are JavaScript that the oldest supported Node understands, or say that they are TypeScript', () => {
    for (const program of programs) {
      if (program.language === 'ts') {
        expect([program.place, program.above]).toEqual([
          program.place,
          expect.stringContaining('TypeScript'),
        ]);
        continue;
      }
      const args = ['--check', fileOf(program)];
      const { stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      // A newer Node that runs the tests may know more.
      expect([program.place, stderr, /\busing \w+ =/.test(program.code)]).toEqual([
        program.place,
        '',
        false,
      ]);
    }
  });

  const toRun = programs.filter(({ notRun }) => notRun === undefined);
  test.each(toRun)('$place runs', (program) => {
    const prelude = pathToFileURL(join(root, 'test/docs/prelude.mjs')).href;
    const args = ['--import', prelude, fileOf(program)];
    const { status, stderr } = spawnSync(process.execPath, args, {
      cwd: folder,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });
});

describe('commands of the documentation', () => {
  const commands = blocks
    .filter(({ language, notRun }) => ['sh', 'bash', 'shell'].includes(language) && !notRun)
    .flatMap(({ place, code }) =>
      code
        .replaceAll('\\\n', ' ')
        .split('\n')
        .map((line) => ({ place, command: line.replace(/(^|\s)#\s.*$/, '').trim() }))
        .filter(({ command }) => command !== ''),
    );
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const targets = readFileSync(join(root, 'Makefile'), 'utf8');
  const run = commands.filter(
    ({ command }) => !elsewhere.some(([pattern]) => pattern.test(command)),
  );

  test.each(run)('$place: $command', { timeout: 60_000 }, ({ command }) => {
    const { status, stdout, stderr } = spawnSync('bash', ['-euc', command], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, PATH: `${join(folder, 'bin')}${delimiter}${process.env['PATH']}` },
    });
    expect([status, status === 0 ? '' : stdout + stderr]).toEqual([0, '']);
  });

  test('those run elsewhere exist', () => {
    for (const { command } of commands) {
      const [, target] = /^make (\w+)/.exec(command) ?? [];
      if (target !== undefined) expect(targets).toMatch(new RegExp(`^${target}:`, 'm'));
      const [, script] = /^npm run ([\w:]+)/.exec(command) ?? [];
      if (script !== undefined) expect(Object.keys(scripts)).toContain(script);
      const [, file] = /^node (scripts\/\S+)/.exec(command) ?? [];
      if (file !== undefined) expect(existsSync(join(root, file)), file).toBe(true);
    }
  });
});

describe('data of the documentation', () => {
  const data = blocks.filter(({ language }) => ['yaml', 'json'].includes(language));
  test.each(data)('$place is $language', ({ code }) => {
    for (const document of parseAllDocuments(code)) {
      expect(document.errors).toEqual([]);
      expect(document.toJS()).toBeTypeOf('object');
    }
    if (code.includes('moe_config') || code.includes('expert_num')) MoEConfig.parse(code);
  });
});

test('code blocks that are not run say why', () => {
  for (const { notRun } of blocks)
    if (notRun !== undefined) expect(notRun.length).toBeGreaterThan(10);
});

test('every code block has a language that is run, or only shows something', () => {
  const known = ['ts', 'js', 'mjs', 'sh', 'bash', 'shell', 'yaml', 'json', ...shown];
  expect(blocks.filter(({ language }) => !known.includes(language))).toEqual([]);
});

test('every link to a file leads to one', () => {
  const broken = documents.flatMap((file) => {
    const text = readFileSync(join(root, file), 'utf8');
    return [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)/g)]
      .map(([, target]) => target as string)
      .filter((target) => !exists(join(root, file, '..', target)))
      .map((target) => `${file}: ${target}`);
  });
  expect(broken).toEqual([]);
});

function exists(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTDIR';
  }
}
