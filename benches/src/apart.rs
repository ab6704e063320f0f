//! Runs of which each has a process of its own: for work that a daemon does once in its life, such as its stop.
//!
//! In one process the heap that a run finds is what the runs of others have left of it: thousands of tasks that ended in any order leave a list of free blocks in
//! that order, and whoever makes the next ones has them all over the memory. A program that runs such work calls [`serve`] first thing: the process of a run is the
//! same program once more, told by its environment.

use std::process::{Command, Stdio, exit};
use std::time::Duration;

use crate::groups;
use crate::measure::Measured;

/// Which run is wanted of this process.
const RUN: &str = "UNWEDGE_BENCH_RUN";

/// A run that can be asked for by its name.
pub(crate) type Run = (&'static str, fn() -> Measured);

/// Does the run of that name in a process of its own.
///
/// # Panics
///
/// If that process cannot be had, or did not do its work: it has said why. If this is such a process, of a program that does not call [`serve`].
pub(crate) fn run(name: &str) -> Measured {
    assert!(std::env::var_os(RUN).is_none(), "this program does not begin with apart::serve");
    let mut program = Command::new("/proc/self/exe");
    let output = program.env(RUN, name).stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("this program");
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Vec<u64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match told[..] {
        [wall, cpu, ops] if output.status.success() => {
            Measured { wall: Duration::from_nanos(wall), cpu: Duration::from_nanos(cpu), ops, served: Vec::new() }
        }
        _ => panic!("the process for {name} has ended with {}, and said {text:?}", output.status),
    }
}

/// Does the run that is wanted of this process, if it is one for that, and ends it.
///
/// # Panics
///
/// If there is no such run.
pub fn serve() {
    let Ok(name) = std::env::var(RUN) else { return };
    let run = groups::APART.iter().find(|(known, _)| *known == name);
    let (_, run) = run.unwrap_or_else(|| panic!("{RUN}: no run has the name {name:?}"));
    let measured = run();
    println!("{} {} {}", measured.wall.as_nanos(), measured.cpu.as_nanos(), measured.ops);
    exit(0);
}
