#!/bin/sh
# The tests of the library under AddressSanitizer. Leaks are not looked for: what the kernel still holds at a deadline is leaked on purpose.
# Tests that count what the process has are skipped: the sanitizer keeps what was freed for a while.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 # -Z on the stable toolchain
export RUSTFLAGS="-Zsanitizer=address"
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
cargo test --package unwedge --lib --tests --target "$host" --no-fail-fast -- --skip lives_leave
