//! Finds librados and compiles the one call that its C interface lacks.
//!
//! Where it is missing the crate still passes clippy and rustdoc, which link nothing; whoever builds it is told by `compile_error!` in `lib.rs`
//! what to install. So the rest of the workspace needs neither librados nor a C++ compiler.

use std::path::Path;

/// Debian 12 has 16.2.15. Its pkg-config file is that of the C++ headers' package.
const HEADERS: &str = "/usr/include/rados/librados.hpp";

fn main() {
    println!("cargo::rerun-if-changed=src/shim.cc");
    println!("cargo::rerun-if-changed={HEADERS}");
    println!("cargo::rustc-check-cfg=cfg(librados_missing)");
    let found = pkg_config::Config::new().cargo_metadata(false).probe("librados");
    let search: Vec<_> = found.map(|library| (library.link_paths, library.include_paths)).into_iter().collect();
    // Debian's packages have no pkg-config file for it: there it lies where every compiler looks.
    let includes: Vec<_> = search.iter().flat_map(|(_, includes)| includes).collect();
    let is_there = Path::new(HEADERS).exists() || includes.iter().any(|dir| dir.join("rados/librados.hpp").exists());
    if !is_there {
        println!("cargo::rustc-cfg=librados_missing");
        // A package's files are older than this build: so look again each time, by a path that is never there.
        println!("cargo::rerun-if-changed=src/librados-is-missing");
        return;
    }
    let mut shim = cc::Build::new();
    shim.cpp(true).std("c++17").warnings(false).file("src/shim.cc").includes(&includes);
    if let Err(error) = shim.try_compile("unwedge_rados_shim") {
        println!("cargo::error=unwedge-rados needs a C++ compiler for its shim (Debian: apt-get install g++): {error}");
        return;
    }
    for dir in search.iter().flat_map(|(link, _)| link) {
        println!("cargo::rustc-link-search=native={}", dir.display());
    }
    println!("cargo::rustc-link-lib=dylib=rados");
}
