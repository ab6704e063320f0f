#!/bin/sh
# The comparison with peers builds, and runs one group, and briefly one that reads files. No figure is judged here: a shared machine is no place for that.
set -eu
cd "$(dirname "$0")/.."
cargo compare --help
cargo compare stop_is_requested
cargo compare io_hit_d1 --pairs 11 --slice 5
