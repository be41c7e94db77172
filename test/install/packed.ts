// Packed tarballs, and projects that install them: what a user gets, not what the working tree holds.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

export const root = join(import.meta.dirname, '../..');

export interface Finished {
  code: number | null;
  /** stdout, then stderr. */
  text: string;
}

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  uid?: number;
}

/** Runs a program to its end. */
export function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, text: stdout + stderr }));
  });
}

/** As `run`, for what must succeed. */
export async function expectRun(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, text } = await run(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${text}`);
  return text;
}

/**
 * Makes packages, as `npm run prebuild` does with these arguments, or takes those that are there with `MOE_PACKAGES=made`;
 * returns the path of each tarball by package name.
 */
export async function makePackages(
  options: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Map<string, string>> {
  if (process.env['MOE_PACKAGES'] !== 'made')
    await expectRun(process.execPath, ['scripts/prebuild.mjs', ...options], {
      cwd: root,
      env: { ...process.env, ...env },
    });
  const folder = join(root, 'build/packages');
  const tarballs = readdirSync(folder).filter((file) => file.endsWith('.tgz'));
  return new Map(
    tarballs.map((file) => [file.replace(/-\d+\.\d+\.\d+.*$/, ''), join(folder, file)]),
  );
}

/** An empty folder below the system's, with this name. The caller removes what is above it. */
export async function emptyFolder(name: string): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), 'node-moe-install-'));
  await chmod(parent, 0o755);
  const folder = join(parent, name);
  await mkdir(folder);
  return folder;
}

export const removeFolder = (folder: string) =>
  rm(dirname(folder), { recursive: true, force: true });

/** A folder of programs to be the whole PATH: what npm and node need, no compiler. */
export async function pathWithoutCompiler(folder: string): Promise<string> {
  const programs = [
    'sh',
    'env',
    'uname',
    'which',
    'npm',
    'npx',
    'node',
    'ls',
    'cat',
    'chmod',
    'id',
  ];
  await mkdir(folder);
  for (const program of programs) {
    const found = (process.env['PATH'] ?? '')
      .split(delimiter)
      .map((place) => join(place, program))
      .find((path) => existsSync(path));
    if (found) await symlink(found, join(folder, program));
  }
  return folder;
}

/** Installs packages into a project. */
export async function install(
  folder: string,
  what: readonly string[],
  flags: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Finished> {
  if (!existsSync(join(folder, 'package.json')))
    await writeFile(join(folder, 'package.json'), '{ "name": "user", "private": true }\n');
  const quiet = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
  return run('npm', ['install', '--foreground-scripts', ...quiet, ...flags, ...what], {
    cwd: folder,
    env: { ...cleanEnvironment(), ...env },
  });
}

/** This process's environment without what npm and the tests put there. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|MOE_|NODE_MOE|VITEST|NODE_OPTIONS|NODE_ENV)/i.test(name),
  );
  return Object.fromEntries(entries);
}
