//! The report: that it names the right culprit, in each of its forms, for each shape of hang.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/seen.rs"]
mod seen;
#[path = "../common/written.rs"]
mod written;

mod causes;
mod flights;
mod forms;
mod locks;
mod members;
#[cfg(any(debug_assertions, feature = "lockdep"))]
mod order;
mod phases;
mod shapes;

use std::time::Duration;

use unwedge::report::{Cause, CauseKind, Report};
use unwedge::{Plan, Stop};

use common::GUARD;
use seen::until;
use written::written;

/// Looks until a report's first cause is as told, and gives that report.
#[track_caller]
fn until_blamed(stop: &Stop, kind: CauseKind, blocked: usize) -> Report {
    let mut seen = stop.report();
    until(&format!("{kind:?} with {blocked} blocked; last:\n{seen}"), || {
        seen = stop.report();
        seen.causes().first().is_some_and(|cause| cause.kind == kind && cause.blocked == blocked)
    });
    seen
}

/// The names in a cause's chain.
fn names(cause: &Cause) -> Vec<&str> {
    cause.chain.iter().map(|step| step.member.name.as_str()).collect()
}

/// The line in which the culprit of a cause began to wait.
fn line_of(cause: &Cause) -> Option<u32> {
    cause.culprit()?.wait.as_ref()?.location.map(|at| at.line())
}

/// Ends a domain in which everything must end.
#[track_caller]
fn end(stop: &Stop) {
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
}

/// Long enough that what began before is seen to have waited longer.
const OLDER: Duration = Duration::from_millis(60);
