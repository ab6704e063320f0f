#!/bin/sh
# The tests of the library under AddressSanitizer. Leaks are not looked for: what the kernel still holds at a deadline is leaked on purpose.
# Tests that count the memory of the process, or limit it, are skipped: the sanitizer keeps what was freed for a while, and needs room.
set -eu
cd "$(dirname "$0")/.."
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
export RUSTC_BOOTSTRAP=1 # -Z on the stable toolchain
# The cfg: no memory is kept for another use, so that the sanitizer sees each.
export RUSTFLAGS="--cfg unwedge_asan -Zsanitizer=address"
# Not for build scripts and procedural macros; by variables, so that it holds for the cargo that a test runs too.
export CARGO_UNSTABLE_TARGET_APPLIES_TO_HOST=true CARGO_TARGET_APPLIES_TO_HOST=false
export CARGO_TARGET_DIR="$target/asan"
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
cargo test --package unwedge --lib --tests --no-fail-fast -- --skip lives_leave --skip lengths_that_lie_do_not_allocate
