#!/bin/sh
# The README's way to model-check a daemon, as its users would go it: a package of its own that depends on unwedge.
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
# The README's Rust block that names the cfg, and the command below it.
awk '/^```rust$/ { block = ""; inside = 1; next } /^```$/ { if (inside && block ~ /cfg\(unwedge_loom\)/) printf "%s", block; inside = 0 }
    inside { block = block $0 "\n" }' README.md >"$dir/src/lib.rs"
command=$(sed -n 's/^\(RUSTFLAGS="--cfg unwedge_loom" cargo test .*\)$/\1/p' README.md)
[ -s "$dir/src/lib.rs" ] && [ -n "$command" ] || { echo "the README has no model"; exit 1; }
cd "$dir"
export CARGO_TARGET_DIR="$target/downstream"
sh -c "$command" | tee "$dir/out"
grep -q '^test storage_never_answers ... ok$' "$dir/out"
cargo check # and without the cfg
