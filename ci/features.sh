#!/bin/sh
# Each combination of features builds and is free of clippy's warnings: none, each, all, and every pair and triple between.
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
for combination in none $combinations; do
    echo "features: $combination"
    case $combination in
        none) cargo clippy --quiet --package unwedge --lib --no-default-features -- -D warnings ;;
        *) cargo clippy --quiet --package unwedge --lib --no-default-features --features "$combination" -- -D warnings ;;
    esac
done
