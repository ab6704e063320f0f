#!/bin/sh
# The documentation builds without a warning, with the default features and with all of them.
set -eu
cd "$(dirname "$0")/.."
export RUSTDOCFLAGS="-D warnings"
cargo doc --workspace --no-deps
cargo doc --package unwedge --no-deps --all-features
