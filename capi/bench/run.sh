#!/bin/sh
# unwedge.hpp against the standard library, on a quiet machine: some 15 s, after the build. Exits with 3 if a bar is missed.
#
#     capi/bench/run.sh [PAIRS [MILLISECONDS]]
set -eu
cd "$(dirname "$0")/../.."
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
prefix=$target/cpp/prefix
capi/install.sh --prefix "$prefix"
${CXX:-c++} -std=c++11 -O2 -Wall -Wextra -Wpedantic -I"$prefix/include" capi/bench/bench.cpp -L"$prefix/lib" -lunwedge -pthread \
    -Wl,-rpath,"$prefix/lib" -o "$target/cpp/bench"
exec "$target/cpp/bench" "$@"
