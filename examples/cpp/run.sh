#!/bin/sh
# Builds the daemon twice, with C_SaferCond-like waits and with unwedge's, freezes the storage of each, stops it, and says in how many lines the two differ.
#
#     examples/cpp/run.sh [SECONDS]     how long a daemon that does not stop is watched (3)
set -eu
cd "$(dirname "$0")/../.."
watched=${1:-3}
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
prefix=${UNWEDGE_PREFIX:-$target/cpp/prefix}
[ -n "${UNWEDGE_PREFIX:-}" ] || capi/install.sh --prefix "$prefix"
mkdir -p "$target/cpp"
for build in safercond unwedge; do
    ${CXX:-c++} -std=c++11 -O2 -g -Wall -Wextra -Wpedantic -Werror ${CXXFLAGS:-} -I"$prefix/include" "examples/cpp/mds_$build.cpp" \
        -L"$prefix/lib" -lunwedge -pthread -Wl,-rpath,"$prefix/lib" -o "$target/cpp/mds_$build"
done
wrong=0
for shape in 1 2 7; do
    case $shape in
        1) echo "shape 1: the stop joins a replay thread that waits for storage" ;;
        2) echo "shape 2: the stop joins the finisher with the big lock held, and a callback needs the lock" ;;
        7) echo "shape 7: the stop waits with the big lock held for an admin hook that waits for storage" ;;
    esac
    # In braces, so that what the shell says of the kill is taken too. Only that is a hang: what ends by itself, well or badly, is none.
    status=0
    said=$({ timeout --signal=KILL "$watched" "$target/cpp/mds_safercond" "$shape"; } 2>&1) || status=$?
    if [ "$status" = 137 ]; then
        echo "    C_SaferCond: still there after $watched s"
    else
        echo "    C_SaferCond: ended with status $status, and should not have: $said"
        wrong=1
    fi
    if said=$(timeout --signal=KILL 30 "$target/cpp/mds_unwedge" "$shape"); then
        echo "    unwedge:     $(echo "$said" | tail -n 1)"
    else
        echo "    unwedge:     FAILED: $said"
        wrong=1
    fi
done
differ=$(diff examples/cpp/mds_safercond.cpp examples/cpp/mds_unwedge.cpp | grep -c '^[<>]' || true)
lines=$(wc -l <examples/cpp/mds_unwedge.cpp)
echo "the two differ by $differ lines (those of both counted, of $lines and $(wc -l <examples/cpp/mds_safercond.cpp))"
exit "$wrong"
