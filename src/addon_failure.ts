import { DeviceError } from './errors.js';
import type { AddonPlace } from './native.js';

/** What to do, by the code and the words of the reason; the first that fits. */
const remedies: readonly [reason: RegExp, remedy: string][] = [
  [
    /^ERR_DLOPEN_DISABLED/,
    'Start Node with `--allow-addons` beside `--permission` (on Node 20, `--experimental-permission`), and without ' +
      '`--no-addons`.',
  ],
  [/^EACCES/, 'Let this user read it.'],
  [/^ERR_ACCESS_DENIED/, 'Let Node read the package: `--allow-fs-read=<folder of node-moe>/*`.'],
  [
    /Requires \w+ access/,
    'Give Deno the permissions `--allow-ffi`, `--allow-read` and `--allow-env`.',
  ],
  [
    /failed to map segment.*Operation not permitted/,
    'Its file system is mounted with `noexec`: install where programs may run.',
  ],
  [
    /failed to map segment|cannot allocate memory|ENOMEM/i,
    'This process may not have the memory: raise its limit (`ulimit -v`, or the container’s).',
  ],
  [
    /it was bundled with other code/,
    'Mark `node-moe` as external, so that it is loaded from node_modules, where its binary is (esbuild: ' +
      '`--external:node-moe`; rollup, rolldown and Vite: `external`; webpack: `externals`; Next.js: ' +
      '`serverExternalPackages`).',
  ],
  [/was cut off at/, 'Install node-moe again: the disk was full, or the copy broke off.'],
];

const build = (root: string) =>
  `Build it, with CMake 3.22 or later and a C++20 compiler: \`node "${root}/scripts/build-native.cjs"\`.`;
const unforce = 'Unset MOE_ADDON, or let it name the moe.node of this version.';

/** The error for an addon that does not load: why, then what to do, then where it was looked for. */
export function noAddon(cause: NodeJS.ErrnoException, { forced, root }: AddonPlace): DeviceError {
  const reason = cause.message
    .trim()
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  const known = remedies.find(([pattern]) => pattern.test(`${cause.code ?? ''} ${cause.message}`));
  const remedy = known?.[1] ?? (forced === undefined && root ? build(root) : unforce);
  const places = root === undefined ? [] : [`${root}/build/Release`, `${root}/prebuilds`];
  const where = forced ?? places.join(' and ');
  return new DeviceError(
    'ERR_MOE_DEVICE_UNAVAILABLE',
    `node-moe cannot load its addon: ${reason}. ${remedy} ` +
      `This is ${process.platform}-${process.arch}, Node ${process.version}${where && `; looked in ${where}`}.`,
    { cause },
  );
}
