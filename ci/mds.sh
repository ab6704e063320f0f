#!/bin/sh
# The main job, with few runs: it exits with 0 only if every stop was clean.
set -eu
cd "$(dirname "$0")/.."
cargo run --release --example mds -- --runs 3 --json
