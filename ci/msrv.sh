#!/bin/sh
# The library uses nothing that is newer than its rust-version, as far as clippy knows: a lint, not a build.
set -eu
cd "$(dirname "$0")/.."
cargo clippy --package unwedge --lib -- -D clippy::incompatible_msrv
cargo clippy --package unwedge --lib --no-default-features -- -D clippy::incompatible_msrv
