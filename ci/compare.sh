#!/bin/sh
# The comparison with peers builds, and runs one group. No figure is judged here: a shared machine is no place for that.
set -eu
cd "$(dirname "$0")/.."
cargo compare --help
cargo compare stop_is_requested
