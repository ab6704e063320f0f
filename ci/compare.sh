#!/bin/sh
# The comparison with peers builds, passes its tests, and runs one group, and briefly one that reads files and one whose runs have processes of their own. No figure is judged here: a
# shared machine is no place for that.
set -eu
cd "$(dirname "$0")/.."
cargo test --release --package unwedge-benches --lib --tests
cargo compare --help
cargo compare stop_is_requested
cargo compare io_hit_d1 --pairs 11 --slice 5
cargo compare stop_fanout --pairs 11 --slice 1
