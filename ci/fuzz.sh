#!/bin/sh
# libFuzzer, a few seconds on each target of fuzz/, from the kept corpus on; the address sanitizer looks on. An input that makes a target fail is printed, and
# kept in target/fuzz-artifacts: put it into the corpus with what mends it. FUZZ_SECONDS=600 ci/fuzz.sh looks longer, `ci/fuzz.sh inode` at one target.
set -eu
cd "$(dirname "$0")/.."
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz --version 0.13.2 --target-dir "$target/cargo-fuzz"
export RUSTC_BOOTSTRAP=1 # -Z on the stable toolchain
export CARGO_TARGET_DIR="$target/fuzz"
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z]*\)"$/\1/p' fuzz/Cargo.toml)
grown="$target/fuzz-corpus" found="$target/fuzz-artifacts"
cargo fuzz build --fuzz-dir fuzz
for name in "$@"; do
    mkdir -p "$grown/$name" "$found/$name"
    echo "== $name"
    # What is found new goes into the first folder; the second is only read.
    cargo fuzz run --fuzz-dir fuzz "$name" "$grown/$name" "fuzz/corpus/$name" -- -max_total_time="${FUZZ_SECONDS:-5}" -timeout=20 \
        -max_len=8192 -verbosity=0 -print_final_stats=1 -artifact_prefix="$found/$name/"
done
