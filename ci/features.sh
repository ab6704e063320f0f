#!/bin/sh
# Each combination of features builds and is free of clippy's warnings: none, each, all, and every pair and triple between. Those that only add to
# the surface (`extra`) know nothing of each other: each alone, and all of them with everything.
set -eu
cd "$(dirname "$0")/.."
features="uring tokio parking_lot parking_lot_0_13"
combinations=" "
for feature in $features; do
    more=" "
    for combination in $combinations; do
        more="$more$combination,$feature "
    done
    combinations="$combinations$more$feature "
done
extra="bytes metrics tracing"
everything=$(echo "$features $extra" | tr ' ' ',')
for combination in none $combinations $extra "$everything"; do
    echo "features: $combination"
    case $combination in
        none) cargo clippy --quiet --package unwedge --lib --no-default-features -- -D warnings ;;
        *) cargo clippy --quiet --package unwedge --lib --no-default-features --features "$combination" -- -D warnings ;;
    esac
done

# What is tested of the features that are off by default.
cargo test --package unwedge --features "$(echo "$extra" | tr ' ' ',')" --test io --test io_export
