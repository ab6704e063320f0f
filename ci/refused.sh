#!/bin/sh
# The tests of the library, and the example's main job, where the kernel refuses io_uring, openat2 and membarrier: so, on the pool of threads.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --example refused
refused=$target/debug/examples/refused

"$refused" --errno ENOSYS /bin/sh -c 'grep -q "^Seccomp:[[:space:]]*2$" /proc/self/status' # the filter is there
runner=CARGO_TARGET_$(printf '%s' "$host" | tr 'a-z-' 'A-Z_')_RUNNER
env "$runner=$refused" cargo test --package unwedge --lib --tests

cargo build --release --example mds
"$refused" "$target/release/examples/mds" --runs 3 --json >"$target/mds-refused.json"
cat "$target/mds-refused.json"
grep -q '"backend": *"pool"' "$target/mds-refused.json"
