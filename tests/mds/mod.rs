//! What the tests of the example `mds` share: where its program is, and the captured pool.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

#[path = "../../examples/mds/fixture.rs"]
pub mod fixture;

/// The example's program. It is built first, as this test was: one that lies there may be old, where only some tests are run.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let here = std::env::current_exe().expect("a test knows its own file");
        let profile = here.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
        let target = profile.parent().expect("a profile's folder lies in target");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "mds", "--no-default-features", "--target-dir"]).arg(target);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let features = [
            ("uring", cfg!(feature = "uring")),
            ("tokio", cfg!(feature = "tokio")),
            ("parking_lot", cfg!(feature = "parking_lot")),
            ("parking_lot_0_13", cfg!(feature = "parking_lot_0_13")),
        ];
        for (feature, _) in features.into_iter().filter(|(_, is_on)| *is_on) {
            build.args(["--features", feature]);
        }
        assert!(build.status().expect("cargo runs").success(), "the example does not build");
        profile.join("examples").join("mds")
    })
}

/// Runs the program to its end.
pub fn mds(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().expect("the program runs")
}

/// What a program printed, as text.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program prints UTF-8")
}
