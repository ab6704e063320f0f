#!/bin/sh
# No warning anywhere: library, models, tests, benches, examples.
set -eu
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets -- -D warnings
