#!/bin/sh
# A short soak of the example: 300 lives, each frozen at a random point and stopped, from another seed each time (it is printed). The limit of a shutdown is
# ten seconds here, because other programs may have the machine; `mds soak` has one second.
set -eu
cd "$(dirname "$0")/.."
cargo run --release --example mds -- soak --lives 300 --within-ms 10000 --json
