// What a release weighs, as a Markdown table.

const kilobytes = (bytes) => `${(bytes / 1000).toFixed(bytes < 1e5 ? 1 : 0)} kB`;

function table(header, rows) {
  const all = [header, ...rows];
  const widths = header.map((_, i) => Math.max(...all.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join(
    '\n',
  );
}

/** @param packed for each package what npm said of it, and its binaries */
export function sizeReport(packed) {
  const packages = packed.map(({ account }) => [
    account.name,
    account.version,
    kilobytes(account.size),
    kilobytes(account.unpackedSize),
    String(account.entryCount),
  ]);
  const binaries = packed.flatMap(({ account, binaries }) =>
    binaries.map(({ path, bytes, glibc, libraries }) => [
      `${account.name}/${path}`,
      kilobytes(bytes),
      glibc ?? 'none',
      libraries.join(' '),
    ]),
  );
  return [
    table(['package', 'version', 'tarball', 'installed', 'files'], packages),
    table(['binary', 'size', 'glibc', 'linked to'], binaries),
  ].join('\n\n');
}
