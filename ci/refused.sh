#!/bin/sh
# The tests of the library, and the example's main job, where the kernel refuses io_uring, openat2 and membarrier: so, on the pool of threads. With both errors
# that are seen: a kernel that lacks a call says ENOSYS, and so do the filters of newer container runtimes; older ones and RHEL 8 say EPERM.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --example refused
refused=$target/debug/examples/refused

runner=CARGO_TARGET_$(printf '%s' "$host" | tr 'a-z-' 'A-Z_')_RUNNER
cargo build --release --example mds
for errno in ENOSYS EPERM; do
    echo "refused: $errno"
    "$refused" --errno $errno /bin/sh -c 'grep -q "^Seccomp:[[:space:]]*2$" /proc/self/status' # the filter is there
    # Documentation tests and the README's programs too.
    env "$runner=$refused --errno $errno" cargo test --package unwedge
    "$refused" --errno $errno "$target/release/examples/mds" --runs 3 --json >"$target/mds-refused.json"
    cat "$target/mds-refused.json"
    grep -q '"backend": *"pool"' "$target/mds-refused.json"
done
