// What a shared library asks of the machine it is loaded on, read with objdump.
import { execFileSync } from 'node:child_process';

const objdump = (option, file) =>
  execFileSync('objdump', [option, file], { encoding: 'utf8', maxBuffer: 2 ** 26 });

/** -1, 0 or 1 as version `a` is older than, the same as or newer than `b`. */
export function compareVersions(a, b) {
  const [x, y] = [a, b].map((version) => version.split('.').map(Number));
  for (let i = 0; i < 3; ++i) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}

/** The newest `FAMILY_x.y` among the versions of a library's undefined symbols; undefined where there is none. */
function newest(symbols, family) {
  const versions = [...symbols.matchAll(new RegExp(`\\*UND\\*.*\\b${family}_([\\d.]+)`, 'g'))];
  return versions
    .map(([, version]) => version)
    .sort(compareVersions)
    .at(-1);
}

/**
 * @returns `glibc` and `libstdcxx`: the versions it needs; `libraries`: what it is linked to; `unwinds`: whether exceptions
 *   find their way; `unversioned`: symbols that any library might give, Node-API's and weak ones apart
 */
export function inspectBinary(file) {
  const symbols = objdump('-T', file);
  const headers = objdump('-p', file);
  const undefinedSymbols = symbols.split('\n').filter((line) => line.includes('*UND*'));
  const unversioned = undefinedSymbols
    .filter((line) => !/\sw\s/.test(line) && !/\((GLIBC|GLIBCXX|CXXABI|GCC)_/.test(line))
    .map((line) => line.trim().split(/\s+/).at(-1))
    .filter((name) => !/^(napi|node_api)_/.test(name));
  return {
    glibc: newest(symbols, 'GLIBC'),
    libstdcxx: newest(symbols, 'GLIBCXX'),
    libraries: [...headers.matchAll(/NEEDED\s+(\S+)/g)].map(([, name]) => name),
    unwinds: /^\s*EH_FRAME\b/m.test(headers),
    unversioned,
  };
}

/** Throws where a library would not load on every Linux with this glibc; `foreign` are symbols that it expects elsewhere. */
export function expectPortable(file, glibc, foreign = /^$/) {
  const found = inspectBinary(file);
  const unknown = found.unversioned.filter((name) => !foreign.test(name));
  const problems = [
    found.glibc !== undefined &&
      compareVersions(found.glibc, glibc) > 0 &&
      `symbols of glibc ${found.glibc}`,
    found.libstdcxx !== undefined && `symbols of libstdc++ ${found.libstdcxx}`,
    unknown.length > 0 && `symbols of unknown origin: ${unknown.join(', ')}`,
  ].filter(Boolean);
  if (problems.length > 0)
    throw new Error(`Expected ${file} to need glibc ${glibc} at most, got ${problems.join('; ')}`);
  return found;
}
