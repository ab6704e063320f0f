//! What the tests of the example `mds` share: where its program is, and the captured pool.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::path::PathBuf;
use std::process::{Command, Output};

#[path = "../../examples/mds/fixture.rs"]
pub mod fixture;

/// The example's program, which `cargo test` builds before it runs this; one built earlier does not do, so a lone test builds it too.
pub fn program() -> PathBuf {
    let here = std::env::current_exe().expect("a test knows its own file");
    let folder = here.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned();
    let program = folder.join("examples").join("mds");
    if !program.is_file() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "mds"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the example does not build");
    }
    program
}

/// Runs the program to its end.
pub fn mds(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().expect("the program runs")
}

/// What a program printed, as text.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program prints UTF-8")
}
