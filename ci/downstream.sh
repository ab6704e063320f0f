#!/bin/sh
# The ways to model-check a daemon that the README, the guide and examples/modelled show, as their users would go them: packages of their own that depend on
# unwedge.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<END
[package]
name = "daemon"
version = "0.1.0"
edition = "2024"

[dependencies]
unwedge = { path = "$root", default-features = false }

[lints.rust]
unexpected_cfgs = { level = "deny", check-cfg = ["cfg(unwedge_loom)"] }

[workspace]
END
cp Cargo.lock "$dir/Cargo.lock"
# The Rust blocks of a text that name the cfg.
models() {
    awk '/^```rust$/ { block = ""; inside = 1; next } /^```$/ { if (inside && block ~ /cfg\(unwedge_loom\)/) printf "%s", block; inside = 0 }
        inside { block = block $0 "\n" }' "$1"
}
# Runs a command of a text, and asks that a test has passed in it.
passes() {
    sh -c "$1" | tee "$dir/out"
    grep -q "^test $2 ... ok\$" "$dir/out"
}
export CARGO_TARGET_DIR="$target/downstream"

models README.md >"$dir/src/lib.rs"
command=$(sed -n 's/^\(RUSTFLAGS="--cfg unwedge_loom" cargo test .*\)$/\1/p' README.md)
[ -s "$dir/src/lib.rs" ] && [ -n "$command" ] || { echo "the README has no model"; exit 1; }
cd "$dir"
passes "$command" storage_never_answers
cargo check # and without the cfg

models "$root/src/guide/model_check.md" >"$dir/src/lib.rs"
command=$(sed -n 's/^\(RUSTFLAGS="--cfg unwedge_loom" cargo test .*\)$/\1/p' "$root/src/guide/model_check.md")
[ -s "$dir/src/lib.rs" ] && [ -n "$command" ] || { echo "the guide has no model"; exit 1; }
passes "$command" models::stops_whatever_the_storage_does
cargo check

cp "$root/Cargo.lock" "$root/examples/modelled/Cargo.lock"
cd "$root/examples/modelled"
passes 'RUSTFLAGS="--cfg unwedge_loom" cargo test --release' keeps_what_it_has_acknowledged
# And the daemon itself: two lives, of which the second finds what the first has kept.
printf 'apples 3\n' | cargo run -- "$dir/table" >"$dir/out"
grep -qx 'apples 3' "$dir/out"
printf 'apples 2\npears 1\n' | cargo run -- "$dir/table" >"$dir/out"
grep -qx 'apples 5' "$dir/out"
grep -q '^modelled: stopped' "$dir/out"
grep -qx 'pears 1' "$dir/table"

# The examples in the documentation of `model`, which nobody else builds.
cd "$root"
RUSTFLAGS="--cfg unwedge_loom" RUSTDOCFLAGS="--cfg unwedge_loom" cargo test --package unwedge --no-default-features --doc -- src/model |
    tee "$dir/out"
grep -q '^test src/model/store.rs .* ok$' "$dir/out"
