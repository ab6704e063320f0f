#!/bin/sh
# Prints capi/NOTICE: what libunwedge.so carries, and under which licences. ci/cpp.sh compares.
set -eu
cd "$(dirname "$0")/.."
cat <<'END'
libunwedge.so is unwedge, under the MIT licence or the Apache License 2.0, at your option, and carries these packages, linked into it:

END
tree() { cargo tree --package unwedge-capi --edges normal --target x86_64-unknown-linux-gnu --prefix none --format "$1" | sed 's, (/.*),,; s, (\*)$,,' | sort -u; }
tree '{p}: {l}' | sed 's, (/[^)]*),,; s/^/    /'
cat <<'END'
    Rust's standard library: MIT OR Apache-2.0, and what it carries (https://github.com/rust-lang/rust/blob/master/COPYRIGHT)

Where a package offers a choice it is used under the MIT licence. The texts of those that have one, with their copyright notices:
END
tree '{p}' | sed 's/ v/ /; s/ .*(.*//' | while read -r name version _; do
    case $name in unwedge | unwedge-capi) continue ;; esac
    dir=$(cargo metadata --format-version 1 | tr '{' '\n' | sed -n "s,.*\"manifest_path\":\"\\([^\"]*/$name-$version\\)/Cargo.toml\".*,\\1,p" | head -n 1)
    for file in LICENSE-MIT license-mit.txt LICENSE; do
        [ -f "$dir/$file" ] || continue
        printf '\n---- %s %s\n\n' "$name" "$version"
        tr -d '\r' <"$dir/$file" | sed 's/[ \t]*$//'
        break
    done
done
