// Stubs of the C library as it was at an older version, to link against: a program linked on a new Linux then runs on an
// old one. `node glibc_stubs.mjs COMPILER VERSION FOLDER` reads the libraries of that compiler and fills the folder.
//
// glibc keeps every old version of a symbol in its libraries, so the symbols of 2.28 can be read off a newer one: of each
// symbol the newest version that is not newer. A linker that finds the stubs first binds to those.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const libraries = ['libc.so.6', 'libm.so.6'];

const [compiler, newest, folder] = process.argv.slice(2);

function compile(...args) {
  return execFileSync(compiler, args, { encoding: 'utf8' }).trim();
}

/** -1, 0 or 1 as `a` is an older, the same or a newer version than `b`. */
function compareVersions(a, b) {
  const [x, y] = [a, b].map((version) => version.split('.').map(Number));
  for (let i = 0; i < 3; ++i)
    if ((x[i] ?? 0) !== (y[i] ?? 0)) return (x[i] ?? 0) < (y[i] ?? 0) ? -1 : 1;
  return 0;
}

/** What a library exports: for each name its type and versions; `standard` is the one that programs are linked to. */
function symbolsOf(library) {
  const lines = execFileSync(
    'readelf',
    ['-W', '--dyn-syms', compile(`-print-file-name=${library}`)],
    {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    },
  ).split('\n');
  const symbols = new Map();
  for (const line of lines) {
    const [, , , type, , , section, symbol = ''] = line.trim().split(/\s+/);
    const [, name, at, version] = /^(\w+)(@@?)GLIBC_([\d.]+)$/.exec(symbol) ?? [];
    if (name === undefined || section === 'UND' || section === 'ABS') continue;
    const entry = symbols.get(name) ?? { type, versions: [], standard: undefined };
    entry.versions.push(version);
    if (at === '@@') entry.standard = version;
    symbols.set(name, entry);
  }
  return symbols;
}

/** The library that had a symbol before glibc 2.34 moved it into libc; null: one that nothing here needs. */
function homeOf(name, library, { standard }) {
  if (library !== 'libc.so.6' || standard !== '2.34') return library;
  if (/^dl[a-z]/.test(name)) return 'libdl.so.2';
  if (/^(shm|mq|aio|timer)_/.test(name)) return 'librt.so.1';
  return /^(pthread|sem)_/.test(name) ? 'libpthread.so.0' : null;
}

/** For each library its symbols, as they were: name, type and version. */
function oldLibraries() {
  const old = new Map();
  for (const library of libraries) {
    for (const [name, symbol] of symbolsOf(library)) {
      const known = symbol.versions.filter((version) => compareVersions(version, newest) <= 0);
      const home = homeOf(name, library, symbol);
      if (known.length === 0 || home === null) continue;
      const version = known.sort(compareVersions).at(-1);
      old.set(home, [...(old.get(home) ?? []), { name, type: symbol.type, version }]);
    }
  }
  return old;
}

function writeStub(library, symbols) {
  const kind = { OBJECT: '@object', TLS: '@tls_object' };
  const assembly = symbols.map(
    ({ name, type }) => `.globl ${name}\n.type ${name}, ${kind[type] ?? '@function'}\n${name}:\n`,
  );
  const versions = new Set(symbols.map(({ version }) => version));
  const script = [...versions].map((version) => {
    const names = symbols.filter((symbol) => symbol.version === version).map(({ name }) => name);
    return `GLIBC_${version} { ${names.join('; ')}; };\n`;
  });
  const path = join(folder, library);
  writeFileSync(`${path}.s`, `.text\n${assembly.join('')}`);
  writeFileSync(`${path}.map`, script.join(''));
  compile(
    '-shared',
    '-nostdlib',
    `-Wl,--version-script=${path}.map`,
    `-Wl,-soname,${library}`,
    '-o',
    path,
    `${path}.s`,
  );
}

function loader() {
  const arm = compile('-dumpmachine').startsWith('aarch64');
  return compile(`-print-file-name=${arm ? 'ld-linux-aarch64.so.1' : 'ld-linux-x86-64.so.2'}`);
}

/** What -lc and -lm find. With libc comes what was its own library then, is always linked statically, or is the loader. */
function writeLinkerScript(library) {
  const stub = (name) => resolve(folder, name);
  const others = ['libpthread.so.0', 'libdl.so.2', 'librt.so.1'].map(stub);
  const text =
    library === 'libc.so.6'
      ? `${stub(library)} ${compile('-print-file-name=libc_nonshared.a')} AS_NEEDED ( ${others.join(' ')} ${loader()} )`
      : stub(library);
  writeFileSync(join(folder, library.replace(/\.\d$/, '')), `GROUP ( ${text} )\n`);
}

mkdirSync(folder, { recursive: true });
for (const [library, symbols] of oldLibraries()) {
  writeStub(library, symbols);
  writeLinkerScript(library);
}
