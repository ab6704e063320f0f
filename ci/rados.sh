#!/bin/sh
# unwedge-rados on a Ceph cluster of its own, which it starts and ends: the tests, the example beside ceph-mds, and a short run of the comparison and of the
# bench, whose figures it does not judge. Where Ceph's packages cannot be installed it says so, and its status is 77: skipped, and not passed.
set -eu
cd "$(dirname "$0")/.."
packages="ceph-mon ceph-osd ceph-mds ceph-common librados-dev libradospp-dev python3-cephfs pkg-config g++"

missing() {
    for program in ceph ceph-mon ceph-osd ceph-mds cephfs-journal-tool rados monmaptool pkg-config g++; do
        command -v "$program" >/dev/null || echo "$program"
    done
    [ -e /usr/include/rados/librados.hpp ] || echo librados.hpp
    /usr/bin/python3 -c 'import cephfs' 2>/dev/null || echo python3-cephfs
}

if [ -n "$(missing)" ]; then
    echo "rados: missing: $(missing | tr '\n' ' '); installing $packages"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    # shellcheck disable=SC2086
    if ! { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $packages; } >/dev/null 2>&1 || [ -n "$(missing)" ]; then
        echo "rados: SKIPPED, NOTHING OF IT WAS TESTED: cannot be installed: $(missing | tr '\n' ' ')"
        exit 77
    fi
fi

# Nothing else of the workspace needs it, and where librados is missing its build says what to install.
if cargo tree --edges all --prefix none | grep '^unwedge-rados '; then exit 1; fi
said=$(cargo rustc --package unwedge-rados --lib -- --cfg librados_missing 2>&1) && { echo "rados: it builds without librados"; exit 1; }
echo "$said" | grep -q 'apt-get install --no-install-recommends librados-dev libradospp-dev g++' || { echo "$said"; exit 1; }

cargo test --package unwedge-rados --no-run
cargo build --release --package unwedge-rados --example mds-rados
cargo bench --package unwedge-rados --bench depths --no-run
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# The comparison waits for most of its time, for a ceph-mds that does not end: the tests run meanwhile. No figure is judged.
table=$(mktemp)
timeout --kill-after=30 1200 ci/ceph/compare.py --ours "$target/release/examples/mds-rados" --theirs-runs 1 --ours-runs 5 --cap 20 >"$table" 2>&1 &
compare=$!
trap 'status=$?; [ -z "$compare" ] || { kill "$compare" && wait "$compare" || :; }; rm -f "$table"; exit $status' EXIT
cargo test --package unwedge-rados
# On a machine that does other work too a bar may be missed; that ours hangs, or that a step cannot be made, is another status.
status=0
wait "$compare" || status=$?
compare=
cat "$table"
[ "$status" = 0 ] || [ "$status" = 3 ] || exit "$status"
cargo bench --package unwedge-rados --bench depths -- --quick
