#!/bin/sh
# Builds libunwedge.so and installs it with unwedge.h, unwedge.hpp, unwedge.pc and the notice: what `cargo cinstall` does, with nothing but cargo.
#
#     capi/install.sh [--prefix /usr/local] [--libdir PREFIX/lib] [--destdir DIR] [--debug] [--lockdep]
#
# --lockdep: the order of locks is watched (unwedge_on_inversion), as in a debug build.
set -eu
from=$PWD
CDPATH= cd "$(dirname "$0")"
# What is not absolute is meant from where the caller stands.
absolute() { case $1 in /*) echo "$1" ;; *) echo "$from/$1" ;; esac; }
prefix=/usr/local libdir='' destdir=${DESTDIR:+$(absolute "$DESTDIR")} profile=capi features=''
usage() { echo "usage: capi/install.sh [--prefix DIR] [--libdir DIR] [--destdir DIR] [--debug] [--lockdep]"; }
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --prefix | --libdir | --destdir) [ $# -gt 1 ] || { echo "$1 wants a directory" >&2; usage >&2; exit 2; } ;;
    esac
    case $1 in
        --prefix) prefix=$(absolute "$2"); shift 2 ;;
        --libdir) libdir=$(absolute "$2"); shift 2 ;;
        --destdir) destdir=$(absolute "$2"); shift 2 ;;
        --debug) profile=dev; shift ;;
        --lockdep) features=lockdep; shift ;;
        *) usage >&2; exit 2 ;;
    esac
done
libdir=${libdir:-$prefix/lib}
version=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"name":"unwedge-capi","version":"\([^"]*\)".*/\1/p')
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
# The shared library alone: with the rlib beside it there would be no optimisation across crates.
cargo rustc --quiet --package unwedge-capi --lib --crate-type cdylib --profile "$profile" --features "$features"
[ "$profile" = dev ] && profile=debug
lib=$destdir$libdir include=$destdir$prefix/include share=$destdir$prefix/share/unwedge
mkdir -p "$lib/pkgconfig" "$include" "$share"
install -m 755 "$target/$profile/libunwedge_capi.so" "$lib/libunwedge.so.$version"
ln -sf "libunwedge.so.$version" "$lib/libunwedge.so.0"
ln -sf libunwedge.so.0 "$lib/libunwedge.so"
install -m 644 include/unwedge.h include/unwedge.hpp "$include"
install -m 644 NOTICE PORTING.md "$share"
# In a .pc a blank within a path has a backslash before it.
escaped() { printf '%s\n' "$1" | sed 's/ /\\ /g'; }
cat >"$lib/pkgconfig/unwedge.pc" <<END
prefix=$(escaped "$prefix")
libdir=$(escaped "$libdir")
includedir=\${prefix}/include

Name: unwedge
Description: Locks, waits and metadata I/O that always stop
Version: $version
Libs: -L\${libdir} -lunwedge
Cflags: -I\${includedir}
END
