// What prebuilt binaries are made for, and what making them takes.

/**
 * @typedef {object} Platform
 * @property {string} name
 * @property {'x64' | 'arm64'} arch
 * @property {'glibc' | 'musl'} libc
 * @property {string} toolchain CMake toolchain file, in this folder
 * @property {boolean} [cuda] whether the CUDA plugin is built for it, where nvcc is there
 * @property {string} strip
 * @property {Record<string, string>} needs commands, and the Debian packages that have them
 */

/** @type {readonly Platform[]} */
export const platforms = [
  {
    name: 'linux-x64-musl',
    arch: 'x64',
    libc: 'musl',
    toolchain: 'linux-x64-musl.cmake',
    strip: 'strip',
    needs: { 'g++': 'g++', 'musl-gcc': 'musl-tools' },
  },
  {
    name: 'linux-x64',
    arch: 'x64',
    libc: 'glibc',
    cuda: true,
    toolchain: 'linux-x64.cmake',
    strip: 'strip',
    needs: { 'g++': 'g++' },
  },
  {
    name: 'linux-arm64',
    arch: 'arm64',
    libc: 'glibc',
    toolchain: 'linux-arm64.cmake',
    strip: 'aarch64-linux-gnu-strip',
    needs: { 'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu' },
  },
];

/** The newest glibc that a prebuilt binary may ask for. */
export const newestGlibc = '2.28';

/**
 * Plugins with packages of their own: too large for the main package, or with dependencies that not everybody has.
 * `needs` is what else must be on the machine, `foreign` the symbols that come from it.
 */
export const pluginPackages = [
  {
    plugin: 'cuda',
    platforms: ['linux-x64'],
    needs: 'an NVIDIA driver',
    description: 'The CUDA device of node-moe: NVIDIA GPUs of compute capability 8.0 and later',
  },
  {
    plugin: 'gloo',
    platforms: ['linux-x64'],
    foreign: /4gloo/,
    needs: 'gloo (Debian, Ubuntu: `apt-get install libgloo0`)',
    description: 'Expert parallelism of node-moe over gloo: experts spread over processes',
  },
];
