#!/bin/sh
# Makes a copy of the sources with all mutants of some files compiled in: see README.md.
#
#     mutants/prepare.sh DIRECTORY src/wait src/completion
set -eu
to=$1
shift
cd "$(dirname "$0")/.."
command -v cargo-mutants >/dev/null || { echo "cargo-mutants is missing: cargo install cargo-mutants --locked"; exit 1; }
cargo build --release --manifest-path mutants/Cargo.toml
mkdir -p "$to"
for each in "$@"; do
    set -- "$@" --file "$each/**"
    shift
done
# What is only printed is left out, and so are tests: a file of them, and the end of a file. A file that is a module in two places is listed twice.
cargo mutants --list --json --exclude-re '::fmt' --exclude src/io/uring/engine/rounds.rs --exclude '**/../**' "$@" |
    python3 -c '
import json, re, sys
listed = {each["name"]: each for each in json.load(sys.stdin)}.values()
text = {file: open(file).read() for file in {each["file"] for each in listed}}
code = {file: re.split(r"#\[cfg\(all\(test.*\n *mod tests \{", text[file])[0].count("\n") for file in text}
json.dump([each for each in listed if each["span"]["start"]["line"] <= code[each["file"]]], sys.stdout)' >"$to/list.json"
: >"$to/unviable.txt"
while :; do
    for each in *; do
        [ "$each" = target ] || [ "$each" = mutants ] || { rm -rf "${to:?}/$each" && cp -R "$each" "$to/"; }
    done
    mutants/target/release/unwedge-mutants "$to/list.json" "$to/unviable.txt" "$to" >"$to/numbers.txt"
    mutants/unviable.py "$to" --package unwedge --package unwedge-loom --features unwedge/tracing,unwedge/metrics,unwedge/bytes >"$to/more.txt"
    [ -s "$to/more.txt" ] && [ -n "$(tr -d '\n' <"$to/more.txt")" ] || break
    cat "$to/more.txt" >>"$to/unviable.txt"
done
echo "$(grep -c '' "$to/numbers.txt") mutants are in"
