#!/bin/sh
# A short soak of the example: 300 lives, each frozen at a random point and stopped, from another seed each time (it is printed). The limit of a shutdown is
# ten seconds here, because other programs may have the machine; `mds soak` has one second. And ten lives of a daemon of 200 threads and 20,000 tasks that
# wait, each reported on and stopped under load: that each report names the culprit and each stop ends all of them; their times are shown and not judged.
# And the races of waits and unlocks on real threads in optimised code: in any other an unlock's store is through before anybody can miss it.
set -eu
cd "$(dirname "$0")/.."
cargo run --release --example mds -- soak --lives 300 --within-ms 10000 --json
cargo build --release --package unwedge-benches --bin crowd
timeout 600 cargo run --release --package unwedge-benches --bin crowd -- --lives 10 --no-bars
cargo test --release --test stress --test barrier_refused
