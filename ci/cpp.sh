#!/bin/sh
# C and C++: libunwedge.so as it is installed, its headers, tests in both languages, the example, and what a change of the ABI would break.
#
#     ci/cpp.sh             all of it
#     ci/cpp.sh --bless     writes capi/abi.xml and capi/NOTICE anew
set -eu
cd "$(dirname "$0")/.."
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')
work=$target/cpp/ci
rm -rf "$work"
mkdir -p "$work"
say() { echo "cpp: $*"; }

# What is missing, from Debian.
missing() {
    for program in g++:g++ clang++:clang cmake:cmake meson:meson ninja:ninja-build valgrind:valgrind abidw:abigail-tools pkg-config:pkg-config; do
        command -v "${program%%:*}" >/dev/null || echo "${program#*:}"
    done
    [ -e /usr/include/boost/thread/mutex.hpp ] || echo libboost-dev
    [ -e /usr/include/tbb/spin_mutex.h ] || echo libtbb-dev
    ls /usr/lib/*/libboost_thread.so >/dev/null 2>&1 || echo libboost-thread-dev
}
install() {
    [ $# = 0 ] && return
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    say "installing $*"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
# shellcheck disable=SC2046
install $(missing)
llvm=$(clang++ -dumpversion | cut -d. -f1)
runtime=$(clang++ -print-file-name=libclang_rt.tsan-x86_64.a)
[ -e "$runtime" ] && command -v "llvm-symbolizer-$llvm" >/dev/null || install "libclang-rt-$llvm-dev" "llvm-$llvm"

# The ABI, from the header alone: each function with an empty body, as abigail sees it.
stub() {
    { echo '#include "unwedge.h"'
      sed 's,//.*,,' capi/include/unwedge.h | awk '
        /^[a-z].*unwedge_[a-z_]*\(/ { inside = 1; text = "" }
        inside { text = text " " $0 }
        inside && /\);/ { sub(/\);/, ") { __builtin_trap(); }", text); print text; inside = 0 }'
    } >"$work/stub.c"
    header=$PWD/capi/include
    (cd "$work" && gcc -g -O0 -fPIC -shared -I"$header" -Wl,-soname,libunwedge.so.0 stub.c -o stub.so)
}
stub
if [ "${1:-}" = --bless ]; then
    abidw --no-corpus-path --no-show-locs --no-comp-dir-path "$work/stub.so" >capi/abi.xml
    capi/notice.sh >capi/NOTICE
    exit 0
fi

say "the library as it is installed"
installer=$PWD/capi/install.sh
(cd "$work" && "$installer" --prefix prefix --debug)
lib=$work/prefix/lib
readelf -d "$lib/libunwedge.so" >"$work/dynamic"
grep -q 'soname: \[libunwedge.so.0\]' "$work/dynamic" || { say "no soname"; exit 1; }
grep -q NODELETE "$work/dynamic" || { say "it could be unloaded"; exit 1; }
nm -D --defined-only "$lib/libunwedge.so" | awk '{ print $3 }' | sort >"$work/symbols"
diff "$work/symbols" capi/symbols.txt || { say "it exports what the header does not declare, or not all of it"; exit 1; }
say "$(wc -l <"$work/symbols") symbols, all unwedge_; highest version of glibc: $(
    nm -D --undefined-only "$lib/libunwedge.so" | sed -n 's/.*@GLIBC_\([0-9.]*\)$/\1/p' | sort -V | tail -n 1)"
# What was added is no change that breaks anybody.
abidiff --no-added-syms capi/abi.xml "$work/stub.so" || { say "the ABI has changed: a new soname, or ci/cpp.sh --bless for what only adds"; exit 1; }
capi/notice.sh | diff - capi/NOTICE || { say "capi/NOTICE is not what the library carries: ci/cpp.sh --bless"; exit 1; }

say "headers without warnings"
strict="-Wall -Wextra -Wpedantic -Wredundant-decls -Werror -fsyntax-only -Icapi/include"
for compiler in gcc clang; do
    for standard in c99 c11 c17; do
        $compiler -x c -std=$standard $strict capi/include/unwedge.h -Wno-pragma-once-outside-header 2>"$work/out" || { cat "$work/out"; exit 1; }
    done
done
echo '#include "unwedge.hpp"' >"$work/include.cpp"
for compiler in g++ clang++; do
    for standard in c++11 c++14 c++17 c++20 c++2b; do
        $compiler -std=$standard $strict "$work/include.cpp" capi/tests/cpp/smoke.cpp
        $compiler -std=$standard $strict -fno-exceptions -fno-rtti "$work/include.cpp" capi/tests/cpp/plain.cpp
    done
done

# Every function that has an argument to be checked is given a wrong one (what is let go may be NULL).
while read -r name; do
    case $name in *_release | unwedge_version | unwedge_strerror | unwedge_on_inversion | unwedge_monitor_place) continue ;; esac
    grep -q "WRONG($name(" capi/tests/c/arguments.c || { say "no wrong argument is tried on $name: capi/tests/c/arguments.c"; exit 1; }
done <capi/symbols.txt

link="-L$lib -lunwedge -pthread -Wl,-rpath,$lib"
common="-g -Wall -Wextra -Wpedantic -Werror -I$work/prefix/include"
peers="-DWITH_BOOST -DWITH_TBB"
guard() { timeout --signal=KILL 120 "$@" </dev/null || { say "failed ($?): $*"; exit 1; }; }

in_c="basics arguments callbacks releases steps strange"
say "tests in C"
for compiler in gcc clang; do
    for test in $in_c; do
        $compiler -std=c11 -D_GNU_SOURCE $common capi/tests/c/$test.c $link -ldl -o "$work/$test"
        guard "$work/$test"
    done
done

say "tests in C++"
for build in g++:c++11 g++:c++17 clang++:c++11 clang++:c++2b; do
    # Compiled beside each other, so that one that fails is known by what it does not leave.
    for test in semantics stops moves steps porting thrown; do
        rm -f "$work/$test"
        ${build%%:*} -std=${build#*:} -O1 $common $peers capi/tests/cpp/$test.cpp $link -lboost_thread -ltbb -o "$work/$test" &
    done
    wait
    for test in semantics stops moves steps porting thrown; do guard "$work/$test"; done
done
g++ -std=c++11 -O1 -fno-exceptions -fno-rtti $common capi/tests/cpp/plain.cpp $link -o "$work/plain"
guard "$work/plain"

say "the example"
UNWEDGE_PREFIX=$work/prefix examples/cpp/run.sh 1

say "valgrind"
# On the pool: valgrind takes io_uring_enter for a call that does not block, and keeps its one lock while a thread waits in it, so that all others stand still.
# Its clients may ignore a gentle end, so a hang is ended by force.
memcheck() {
    UNWEDGE_IO=pool timeout --signal=KILL 120 valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite "$@" \
        </dev/null >"$work/out" 2>&1 || { cat "$work/out"; say "failed under valgrind: $*"; exit 1; }
}
for test in $in_c; do memcheck "$work/$test"; done
for shape in 1 2 7; do memcheck "$target/cpp/mds_unwedge" $shape; done

say "AddressSanitizer"
for test in stops semantics moves steps porting; do
    g++ -std=c++17 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all $common capi/tests/cpp/$test.cpp $link -o "$work/sanitized"
    guard "$work/sanitized"
done
g++ -std=c++11 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all $common examples/cpp/mds_unwedge.cpp $link -o "$work/sanitized"
for shape in 1 2 7; do guard "$work/sanitized" $shape; done

# The library itself instrumented, for the runtime of clang, which exports to it what it calls: "$work/NAME/libunwedge.so".
instrumented() { # NAME, rustc's options
    (
        export RUSTC_BOOTSTRAP=1 # -Z on the stable toolchain
        export RUSTFLAGS="$2"
        cargo rustc --quiet --package unwedge-capi --lib --crate-type cdylib --target "$host" --target-dir "$target/$1"
    )
    mkdir "$work/$1"
    cp "$target/$1/$host/debug/libunwedge_capi.so" "$work/$1/libunwedge.so.0"
    ln -s libunwedge.so.0 "$work/$1/libunwedge.so"
}

say "AddressSanitizer, the library too"
instrumented asan "--cfg unwedge_asan -Zsanitizer=address"
with="-O1 -fsanitize=address -DWITH_ASAN $common -L$work/asan -Wl,-rpath,$work/asan"
for test in $in_c; do
    # A pthread_create of one's own takes the place of the sanitizer's.
    [ $test = callbacks ] && continue
    clang -std=c11 -D_GNU_SOURCE capi/tests/c/$test.c $with -lunwedge -pthread -ldl -o "$work/asan/test"
    guard "$work/asan/test"
done
for test in capi/tests/cpp/stops capi/tests/cpp/moves capi/tests/cpp/porting examples/cpp/mds_unwedge; do
    clang++ -std=c++17 $test.cpp $with -lunwedge -pthread -o "$work/asan/test"
    guard "$work/asan/test" 1
done

say "ThreadSanitizer"
instrumented tsan "--cfg unwedge_tsan -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
gcc -O1 -c -fno-builtin capi/tests/cpp/tsan_shim.c -o "$work/shim.o"
export TSAN_OPTIONS="suppressions=$PWD/ci/tsan.supp external_symbolizer_path=$(command -v "llvm-symbolizer-$llvm") halt_on_error=1"
with="-O1 -fsanitize=thread -rdynamic $common $work/shim.o -L$work/tsan -Wl,-rpath,$work/tsan"
for test in releases steps; do
    clang -std=c11 -D_GNU_SOURCE capi/tests/c/$test.c $with -lunwedge -pthread -o "$work/tsan/test"
    guard "$work/tsan/test"
done
for test in capi/tests/cpp/stops capi/tests/cpp/semantics capi/tests/cpp/moves capi/tests/cpp/steps capi/tests/cpp/porting examples/cpp/mds_unwedge; do
    clang++ -std=c++17 $peers $test.cpp $with -lunwedge -lboost_thread -ltbb -pthread -o "$work/tsan/test"
    guard "$work/tsan/test" 1
done

say "CMake and Meson"
export PKG_CONFIG_PATH=$lib/pkgconfig
cmake -S capi/tests/cmake -B "$work/cmake" >"$work/out" && cmake --build "$work/cmake" >>"$work/out" || { cat "$work/out"; exit 1; }
guard "$work/cmake/smoke"
cp -r capi/tests/meson "$work/meson-project"
cp capi/tests/cpp/smoke.cpp "$work/meson-project"
meson setup "$work/meson" "$work/meson-project" >"$work/out" && meson compile -C "$work/meson" >>"$work/out" || { cat "$work/out"; exit 1; }
LD_LIBRARY_PATH=$lib guard "$work/meson/smoke"

# cargo-c is not installed here: it is a whole cargo, which takes ten minutes of a small machine to build, and Debian 12's (0.9.14) is one from before edition 2024.
# Where it is (cargo install --locked cargo-c) it is tried.
if cargo cinstall --version >/dev/null 2>&1 && cargo cbuild --help >/dev/null 2>&1; then
    say "cargo cinstall"
    if cargo cinstall --package unwedge-capi --profile capi --library-type cdylib --prefix "$work/cargo-c" --libdir "$work/cargo-c/lib" --target-dir "$target/cargo-c" >"$work/out" 2>&1; then
        for file in lib/libunwedge.so lib/libunwedge.so.0 include/unwedge.h include/unwedge.hpp lib/pkgconfig/unwedge.pc; do
            [ -e "$work/cargo-c/$file" ] || { say "cargo cinstall has not installed $file"; find "$work/cargo-c"; exit 1; }
        done
    elif grep -q 'this version of Cargo\|edition2024\|is required for' "$work/out"; then
        say "this cargo-c is too old for the workspace: left out"
    else
        cat "$work/out"
        exit 1
    fi
else
    say "no cargo-c here: capi/install.sh was tested, cargo cinstall was not"
fi

say "the bench works; it judges no figure here"
g++ -std=c++11 -O2 $common capi/bench/bench.cpp $link -o "$work/bench"
code=0
guard_bench() { timeout --kill-after=5 120 "$work/bench" 3 1 >"$work/out" || code=$?; }
guard_bench
[ "$code" = 0 ] || [ "$code" = 3 ] || { say "the bench failed ($code)"; cat "$work/out"; exit 1; }
say "all as it should be"
