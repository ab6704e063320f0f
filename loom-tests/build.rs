//! Compiles this package, and it alone, with `cfg(unwedge_loom)`.

fn main() {
    println!("cargo:rustc-cfg=unwedge_loom");
    println!("cargo:rerun-if-changed=build.rs");
}
