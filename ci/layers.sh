#!/bin/sh
# What CONTRIBUTING.md says of the layers: which module may name which, and what only src/sys may name.
set -eu
cd "$(dirname "$0")/.."

# Each module, and what it may use of the crate besides itself.
rules='
error:
sys:
registry: sys error
lock: error sys registry
wait: error sys registry lock
completion: error sys registry lock wait
stop: error sys registry lock wait completion
stream: error sys lock wait completion
report: error sys registry lock wait completion stop
io: error sys registry lock wait completion stop report stream
model: error sys registry lock wait completion stop report
guide:
'
# Where the public faces know each other by type: the file, and what more it may use.
exceptions='
src/wait/monitor.rs: stop
src/wait/condvar.rs: stop
src/wait/guard.rs: stop completion
src/completion/mod.rs: stop
src/stop/shutdown.rs: report
'

failed=0
complain() {
    echo "$1"
    failed=1
}

# Prints `module` for each name of the crate that a file uses; names at the root are looked up in lib.rs.
used() {
    sed 's,//.*,,' src/lib.rs "$1" | awk -v lib="$(grep -c '' src/lib.rs)" '
        { text[NR <= lib] = text[NR <= lib] " " $0 }
        END {
            # Where the root has its names from: `pub use module::...::{A, B};`
            rest = text[1]
            while (match(rest, /pub use [a-z_]+::[^;]*;/)) {
                item = substr(rest, RSTART + 8, RLENGTH - 9)
                rest = substr(rest, RSTART + RLENGTH)
                module = item; sub(/::.*/, "", module)
                count = split(item, names, /[^A-Za-z]+/)
                for (i = 1; i <= count; i++) if (names[i] ~ /^[A-Z]/) from[names[i]] = module
            }
            rest = text[0]
            while (match(rest, /crate::/)) {
                rest = substr(rest, RSTART + 7)
                if (substr(rest, 1, 1) != "{") { match(rest, /^[A-Za-z_]+/); emit(substr(rest, 1, RLENGTH)); continue }
                # A list: its names at depth 1.
                depth = 0; word = ""; fresh = 0
                for (at = 1; at <= length(rest); at++) {
                    c = substr(rest, at, 1)
                    if (c ~ /[A-Za-z_0-9]/) { word = word c; continue }
                    if (word != "" && depth == 1 && fresh) { emit(word); fresh = 0 }
                    word = ""
                    if (c == "{") { depth++; if (depth == 1) fresh = 1 }
                    else if (c == "}") { depth--; if (depth == 0) break }
                    else if (c == "," && depth == 1) fresh = 1
                }
            }
        }
        function emit(name) { print (name in from) ? from[name] : name }
    ' | sort -u
}

for file in $(find src -name '*.rs' ! -path src/lib.rs | sort); do
    module=${file#src/}
    module=${module%%/*}
    module=${module%.rs}
    rule=$(printf '%s' "$rules" | sed -n "s/^$module://p")
    printf '%s' "$rules" | grep -q "^$module:" || complain "$file: the module $module is in no layer"
    more=$(printf '%s' "$exceptions" | sed -n "s,^$file:,,p")
    for name in $(used "$file"); do
        case " $rule $more $module " in
            *" $name "*) ;;
            *) complain "$file: $module must not know $name" ;;
        esac
    done
    case $module in
        sys | model) ;;
        *)
            found=$(sed 's,//.*,,' "$file" | grep -nE '(std|core)::sync::atomic|(std|core)::cell::UnsafeCell|std::thread::JoinHandle|loom::' | grep -v 'loom::lazy_static!' || true)
            [ -z "$found" ] || complain "$file: only sys names this: $found"
            ;;
    esac
done

for pair in 'uring pool' 'pool uring'; do
    one=${pair% *} other=${pair#* }
    for file in $(find src/io -path "src/io/$one*" -name '*.rs' 2>/dev/null | sort); do
        found=$(sed 's,//.*,,' "$file" | grep -nwE "(super|crate::io)::$other" || true)
        [ -z "$found" ] || complain "$file: the backends never know each other: $found"
    done
done
# The page on the memory model has a row for each word that decides something in these modules.
page=src/guide/memory_model.md
for file in src/wait/*.rs src/completion/*.rs src/registry/domain.rs src/sys/light_mutex.rs src/sys/fence.rs; do
    for word in $(sed 's,//.*,,' "$file" | sed -nE 's/^ *(pub(\([a-z]+\))? )?(static )?([A-Za-z_]+): Atomic[UIBP][A-Za-z0-9]*( =.*|,)$/\4/p'); do
        grep "^| .${file#src/}. |" "$page" | cut -d'|' -f3 | grep -qw "$word" || complain "$file: $word is not in $page"
    done
done
[ "$failed" = 0 ] && echo "layers: as they should be"
exit "$failed"
