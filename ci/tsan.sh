#!/bin/sh
# tests/races.rs under ThreadSanitizer. std is not instrumented: sys has a mutex of which every step is seen, and tsan.supp the rest.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 # -Z on the stable toolchain
export RUSTFLAGS="--cfg unwedge_tsan -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
export TSAN_OPTIONS="halt_on_error=1:suppressions=$PWD/ci/tsan.supp${TSAN_OPTIONS:+:$TSAN_OPTIONS}"
export UNWEDGE_RACES_ROUNDS=20000
cargo test --package unwedge --test races --target "$host"
