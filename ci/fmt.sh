#!/bin/sh
# The sources are as rustfmt.toml has them.
set -eu
cd "$(dirname "$0")/.."
cargo fmt --all --check
