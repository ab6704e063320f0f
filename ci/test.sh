#!/bin/sh
# Everything that `cargo test` runs: unit, integration and documentation tests, and the loom models. The README's command.
set -eu
cd "$(dirname "$0")/.."
cargo test
