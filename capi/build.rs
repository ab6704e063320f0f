//! How the shared library is linked.

fn main() {
    // The name that programs look for: it changes when the ABI does. (cargo-c gives the same.)
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libunwedge.so.0");
    // Threads of the library's own, and destructors of thread-locals, run on after a dlclose: so it unloads nothing.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
