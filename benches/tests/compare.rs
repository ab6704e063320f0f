//! What `cargo compare` says where nothing is as it was asked for: an error, and what there is.

use std::process::{Command, Output};

fn compare(arguments: &[&str]) -> Output {
    let mut compare = Command::new(env!("CARGO_BIN_EXE_compare"));
    // Short, where it measures something after all.
    compare.args(arguments).args(["--pairs", "11", "--slice", "1"]).output().expect("it runs")
}

/// The error of a run that measures nothing.
fn refused(arguments: &[&str]) -> String {
    let output = compare(arguments);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && out.is_empty(), "{arguments:?}: {} {out}", output.status);
    error.into_owned()
}

#[test]
fn what_nobody_is_called_is_an_error_that_lists_who_there_is() {
    let peer = refused(&["stop_is_requested", "--against", "nosuch"]);
    assert!(peer.contains("--against \"nosuch\"") && peer.contains("CancellationToken"), "{peer}");
    let ours = refused(&["stop_is_requested", "--ours", "nosuch"]);
    assert!(ours.contains("--ours \"nosuch\"") && ours.contains("unwedge"), "{ours}");
    let both = refused(&["stop_is_requested", "--ours", "nosuch", "--against", "nobody"]);
    assert!(both.contains("--ours") && both.contains("--against"), "{both}");
    let group = refused(&["nosuch"]);
    assert!(group.contains("stop_is_requested") && group.contains("io_stat"), "{group}");
    // Before anything is made for it.
    let files = refused(&["io_stat", "--against", "nosuch"]);
    assert!(files.contains("one thread's loop"), "{files}");
}

#[test]
fn a_part_of_a_name_is_enough() {
    let output = compare(&["stop_is_requested", "--against", "Cancel"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("stop_is_requested"));
}
