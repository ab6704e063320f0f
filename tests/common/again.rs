//! A test once more, in a process of its own.

use std::process::{Command, Stdio};

/// This program, which runs that test alone. With `mark` in its environment, by which the test knows.
pub(crate) fn again(test: &str, mark: &str) -> Command {
    let mut program = Command::new(std::env::current_exe().expect("a test has a path"));
    program.args([test, "--exact", "--nocapture"]).env(mark, "1").stdin(Stdio::null());
    program
}
