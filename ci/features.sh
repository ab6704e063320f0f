#!/bin/sh
# Sets of features build and are free of clippy's warnings: none, each alone, every pair of those that change what the others build on (`base`), all but
# one, and all. Not all 2^9: those that only add to the surface (`extra`) know nothing of each other.
set -eu
cd "$(dirname "$0")/.."
base="uring tokio parking_lot parking_lot_0_13"
extra="bytes json lockdep metrics tracing"

# Prints a list of words with commas between them, without the word $1.
without() {
    left=$1 list=
    shift
    for word in "$@"; do
        [ "$word" = "$left" ] || list="$list,$word"
    done
    echo "${list#,}"
}

pairs= later=$base
for one in $base; do
    later=${later#"$one"} later=${later# }
    for other in $later; do
        pairs="$pairs $one,$other"
    done
done
all_but_one=
for feature in $base $extra; do
    all_but_one="$all_but_one $(without "$feature" $base $extra)"
done

for set in none $base $extra $pairs $all_but_one "$(without none $base $extra)"; do
    echo "features: $set"
    case $set in
        none) cargo clippy --quiet --package unwedge --lib --no-default-features -- -D warnings ;;
        *) cargo clippy --quiet --package unwedge --lib --no-default-features --features "$set" -- -D warnings ;;
    esac
done

# What is tested of the features that are off by default: buffers of `bytes`, both facades, parking_lot 0.13's locks, the order of locks.
cargo test --package unwedge --all-features --test io --test io_export --test report_watch --test locks --test report
