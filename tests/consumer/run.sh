#!/bin/bash
# Installs the build of BUILD_FOLDER into a temporary prefix, then builds and runs a small program
# against that copy: once through find_package, once through pkg-config, and so the C interface. Each
# public header must compile by itself there, and so must the programs of README.md.
# usage: run.sh BUILD_FOLDER COMPILER
set -euo pipefail

build=$1
compiler=$2
project=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/project
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cow-consumer-XXXXXX")
trap 'rm -rf "$scratch"' EXIT

cmake --install "$build" --prefix "$scratch/first" >/dev/null
# Moved after it was installed: nothing in it may name where it was.
mv "$scratch/first" "$scratch/installed"

echo "find_package(cow)"
cmake -S "$project" -B "$scratch/build" -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$scratch/installed" >/dev/null
cmake --build "$scratch/build" >"$scratch/log" || { cat "$scratch/log"; exit 1; }
"$scratch/build/consumer"
"$scratch/build/c_consumer"

echo "pkg-config cow"
folder=$(dirname "$(find "$scratch/installed" -name cow.pc)")
read -ra flags < <(PKG_CONFIG_PATH=$folder pkg-config --cflags --libs cow)
"$compiler" -std=c++20 -Wall -Wextra -Werror "$project/main.cc" "${flags[@]}" -o "$scratch/consumer"
"$scratch/consumer"

echo "the programs of README.md"
sed -n '/^```cpp$/,/^```$/{/^```/!p}' "$project/../../../README.md" >"$scratch/readme.cc"
"$compiler" -std=c++20 -Wall -Wextra -Werror "$scratch/readme.cc" "${flags[@]}" -o "$scratch/readme"
(cd "$scratch" && ./readme)
sed -n '/^```c$/,/^```$/{/^```/!p}' "$project/../../../README.md" >"$scratch/readme.c"
read -ra c_flags < <(PKG_CONFIG_PATH=$folder pkg-config --cflags --libs cow-c)
"$compiler" -x c -std=c11 -Wall -Wextra -Wpedantic -Werror "$scratch/readme.c" -x none "${c_flags[@]}" \
  -o "$scratch/c_readme"
(cd "$scratch" && LD_LIBRARY_PATH=$folder/.. ./c_readme)

echo "each header by itself"
for header in "$scratch"/installed/include/cow/*.h; do
  printf '#include <cow/%s>\n' "${header##*/}" >"$scratch/alone.cc"
  "$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only "$scratch/alone.cc" "${flags[@]}"
done
printf '#include <cow/cow.h>\nint none;\n' >"$scratch/alone.c"
"$compiler" -x c -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only "$scratch/alone.c" "${c_flags[@]}"
