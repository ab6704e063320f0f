//! What the tests of the core share: a guard against a hang, and ways to see that somebody waits.

use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use unwedge::Stop;
use unwedge::report::WaitReport;

/// Long enough that only a hang comes to it.
pub const GUARD: Duration = Duration::from_secs(30);

/// Runs a test on a thread of its own, so that a hang is a failure.
#[track_caller]
pub fn guarded(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let runner = thread::spawn(move || {
        test();
        done.send(()).ok();
    });
    match finished.recv_timeout(GUARD) {
        Err(RecvTimeoutError::Timeout) => panic!("a hang: not done after {GUARD:?}"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = runner.join() {
                resume_unwind(panic);
            }
        }
    }
}

/// Looks until it is seen.
#[track_caller]
pub fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < GUARD, "never seen: {what}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// The waits of the members that have this name.
pub fn waits_of(stop: &Stop, name: &str) -> Vec<WaitReport> {
    let report = stop.report();
    report.members().iter().filter(|member| member.name == name).flat_map(|member| member.waits.clone()).collect()
}

/// Looks until the member of this name waits for `what`.
#[track_caller]
pub fn until_waits(stop: &Stop, name: &str, what: &str) {
    until(&format!("{name} waits for {what}"), || waits_of(stop, name).iter().any(|wait| wait.what == what));
}
