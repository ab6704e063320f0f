//! The daemon: its storage is a file, its clients write lines on its standard input, `apples 3`. It stops at the end of the input.

#[cfg(not(unwedge_loom))]
mod file;

#[cfg(not(unwedge_loom))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    file::run()
}

/// `io` is not there in a model: cargo builds the program all the same.
#[cfg(unwedge_loom)]
fn main() {}
