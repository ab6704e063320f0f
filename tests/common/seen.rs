//! What the tests of the core share: ways to see that somebody waits.

use std::thread;
use std::time::{Duration, Instant};

use unwedge::Stop;
use unwedge::report::WaitReport;

use crate::common::GUARD;

/// Looks until it is seen.
#[track_caller]
pub(crate) fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < GUARD, "never seen: {what}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// The waits of the members that have this name.
pub(crate) fn waits_of(stop: &Stop, name: &str) -> Vec<WaitReport> {
    let report = stop.report();
    report.members().iter().filter(|member| member.name == name).flat_map(|member| member.waits.clone()).collect()
}

/// Looks until the member of this name waits for `what`.
#[track_caller]
pub(crate) fn until_waits(stop: &Stop, name: &str, what: &str) {
    until(&format!("{name} waits for {what}"), || waits_of(stop, name).iter().any(|wait| wait.what == what));
}
