#!/usr/bin/env bash
# A C++ compiler for musl (Alpine Linux) from Debian packages: Debian has musl and a C compiler for it, and the source of
# its own g++, from which libstdc++ is built for musl here. `musl_toolchain.sh FOLDER` does nothing where that is done.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[[ ! -e $folder/done ]] || exit 0

release=$(g++ -dumpversion)
release=${release%%.*}
archive=$(echo "/usr/src/gcc-$release"/gcc-"$release".*.tar.xz)
specs=/usr/lib/x86_64-linux-musl/musl-gcc.specs
[[ -e $archive && -e $specs ]] || {
  echo "these Debian packages are missing: musl-tools gcc-$release-source" >&2
  exit 1
}
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/source" "$folder/build"

# The same compiler, with musl's headers and libraries in the place of glibc's.
for language in gcc g++; do
  printf '#!/bin/sh\nexec %s "$@" -specs %s\n' "$language" "$specs" >"$folder/bin/x86_64-linux-musl-$language"
  chmod +x "$folder/bin/x86_64-linux-musl-$language"
done
for tool in ar ranlib nm strip objdump ld as; do
  ln -s "$(command -v "$tool")" "$folder/bin/x86_64-linux-musl-$tool"
done
export PATH=$folder/bin:$PATH

tar xf "$archive" -C "$folder/source" --strip-components=1 --wildcards \
  'gcc-*/libstdc++-v3' 'gcc-*/libgcc' 'gcc-*/include' 'gcc-*/libiberty' 'gcc-*/config*' 'gcc-*/ltmain.sh' \
  'gcc-*/install-sh' 'gcc-*/missing' 'gcc-*/mkinstalldirs' 'gcc-*/move-if-change' 'gcc-*/depcomp' \
  'gcc-*/gcc/BASE-VER' 'gcc-*/gcc/DATESTAMP'
ln -s gthr-posix.h "$folder/source/libgcc/gthr-default.h" # libgcc's build makes this link; only libstdc++ is built here

cd "$folder/build"
../source/libstdc++-v3/configure --quiet --build=x86_64-linux-gnu --host=x86_64-linux-musl --prefix="$folder" \
  --disable-multilib --disable-nls --disable-shared --enable-static --disable-libstdcxx-pch \
  --disable-libstdcxx-verbose --with-gxx-include-dir="$folder/include/c++" CFLAGS='-O2 -fPIC' CXXFLAGS='-O2 -fPIC'
make --silent -j"$(nproc)"
make --silent install
cd "$folder"
rm -rf build source
touch done
