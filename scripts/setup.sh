#!/usr/bin/env bash
# Installs what building (`build`), testing (`test`), linting (`lint`), packing (`packages`) or `performance` needs and is missing: Debian packages, then npm
# packages. Does nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}
need_file() { # need_file FILE PACKAGE
  [[ -e $1 ]] || missing+=("$2")
}

need g++ g++
need make make
need cmake cmake
if [[ ${1:-build} == test ]]; then
  need ninja ninja-build
  need clang++ clang
  need_file /usr/include/gtest/gtest.h libgtest-dev
  need_file /usr/src/googletest/CMakeLists.txt googletest
  need_file /usr/bin/chromium chromium
  need_file /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core
  need_file /usr/include/gloo/transport/tcp/device.h libgloo-dev
  need ip iproute2
  need python3 python3  # of node-gyp, which packs binaries
  if [[ $(uname -m) == x86_64 ]]; then
    need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
    need qemu-aarch64 qemu-user
  fi
fi
if [[ ${1:-build} == packages ]]; then
  need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
  need qemu-aarch64 qemu-user
  need musl-gcc musl-tools
  need python3 python3  # of node-gyp
  need_file /usr/include/gloo/transport/tcp/device.h libgloo-dev
  need ninja ninja-build
  # libstdc++ for musl is built from it; the version is that of g++ once that is there.
  release=$(g++ -dumpversion 2>/dev/null || echo 12)
  need_file "/usr/src/gcc-${release%%.*}" "gcc-${release%%.*}-source"
fi
if [[ ${1:-build} == performance ]]; then
  need ninja ninja-build
  need_file /usr/include/benchmark/benchmark.h libbenchmark-dev
fi
if [[ ${1:-build} == lint ]]; then
  need clang-format clang-format
  need clang-tidy clang-tidy
  need_file /usr/include/gloo/transport/tcp/device.h libgloo-dev
  need ninja ninja-build
fi

if ((${#missing[@]})); then
  if [[ $(id -u) == 0 ]]; then
    as_root=()
  elif sudo -n true 2>/dev/null; then
    as_root=(sudo)
  else
    printf 'These Debian packages are missing, and installing them takes root:\n  %s\nRun: sudo apt-get install %s\n' \
      "${missing[*]}" "${missing[*]}" >&2
    exit 1
  fi
  if ! command -v apt-get >/dev/null 2>&1; then
    printf 'These programs are missing, by the names of their Debian packages:\n  %s\n' "${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v node >/dev/null 2>&1; then
  echo 'Node 20.19 or later is missing: install it from https://nodejs.org or your distribution' >&2
  exit 1
fi

# What the lock file says, when it is newer than what was installed from it. Not `npm ci`: that refuses the lock file on
# registries that lack another platform's optional binaries. The addon is built by the build step, not here.
if [[ ! -e node_modules/.package-lock.json || package-lock.json -nt node_modules/.package-lock.json ]]; then
  npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
