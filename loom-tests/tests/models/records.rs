//! The records that a report reads without a lock, while they change and while their slots change hands: the shipped files of operations in flight
//! and of phases (`src/registry/flight.rs`, `src/registry/phase.rs`), with atomics that loom sees, and one slot for all that come.
//!
//! In the other models their fields are invisible to loom. Here each load of a reader may be stale, as far as its orderings permit. A failure shows as an
//! assertion: a record is shown that nobody has written, made of two.
//!
//! `build.rs` writes the files out with their fences as calls of [`fence`]: the twins leave them out, one at a time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use unwedge::model::thread;

use crate::common::{Failure, explore, fails};

mod standins;
use standins::{arena, domain, link, sys, text};

#[expect(dead_code, reason = "a report has use for more of it")]
mod flight {
    include!(concat!(env!("OUT_DIR"), "/flight.rs"));
}

#[expect(dead_code, reason = "a report has use for more of it")]
mod phase {
    include!(concat!(env!("OUT_DIR"), "/phase.rs"));
}

use domain::DomainRef;
use flight::Flight;
use phase::{PhaseSlot, Planned, State};

/// Which fence is left out in this process. Not seen by loom.
static BROKEN: AtomicU32 = AtomicU32::new(0);

/// A fence of the shipped files.
fn fence(number: u32, ordering: Ordering) {
    if BROKEN.load(Ordering::Relaxed) != number {
        loom::sync::atomic::fence(ordering);
    }
}

const ONE: DomainRef = DomainRef { cell: 1, live: 10 };
const OTHER: DomainRef = DomainRef { cell: 2, live: 20 };

/// An operation ends, and the next one begins in its slot, beside a reader.
fn flights() {
    let begin = |(operation, object, offset, domain)| Flight::begin(operation, object, offset, 4096, domain);
    let first = ("read", "200", 1, ONE);
    let second = ("write", "400", 2, OTHER);
    let flight = begin(first);
    let owner = thread::spawn(move || {
        drop(flight);
        begin(second)
    });
    for seen in flight::look_in(|_| true) {
        let what = (seen.operation.text(), seen.object.text(), seen.offset, seen.domain);
        assert!(what == first || what == second, "a mixture of two operations: {what:?}");
    }
    drop(owner.join().unwrap());
    assert_eq!(flight::look_in(|_| true).count(), 0);
}

fn planned(name: &str, plan: u64, seconds: u64) -> PhaseSlot {
    let (domain, limit) = ([ONE, OTHER][plan as usize % 2], Duration::from_secs(seconds));
    PhaseSlot::plan(&Planned { name, domain, plan, place: 0, limit, or_abort: false })
}

/// A shutdown ends, and the next one plans its phase in the slot, beside a reader.
fn phases_of_two_shutdowns() {
    let slot = planned("save", 2, 7);
    let shutdown = thread::spawn(move || {
        drop(slot);
        planned("drain", 3, 9)
    });
    for seen in phase::look() {
        let what = (seen.name.text(), seen.plan, seen.domain, seen.limit.as_secs());
        let (first, second) = (("save", 2, ONE, 7), ("drain", 3, OTHER, 9));
        assert!(what == first || what == second, "a mixture of two phases: {what:?}");
        assert_eq!(seen.state, State::Planned);
    }
    drop(shutdown.join().unwrap());
}

#[test]
fn law8_no_mixture_of_two_operations() {
    explore("L8", Some(2), || {
        flights();
    });
}

#[test]
fn law8_no_mixture_of_two_phases() {
    explore("L8", Some(2), || {
        phases_of_two_shutdowns();
    });
}

/// A model must fail where this is left out.
macro_rules! twin {
    ($name:ident, $number:literal, $failure:literal, $model:ident) => {
        #[test]
        fn $name() {
            fails(Failure::Panic($failure), Some(2), || {
                BROKEN.store($number, Ordering::Relaxed);
                $model();
            });
        }
    };
}

twin!(twin_operation_written_over_without_a_fence, 1, "a mixture of two operations", flights);
twin!(twin_operation_looked_at_again_without_a_fence, 2, "a mixture of two operations", flights);
twin!(twin_phase_written_over_without_a_fence, 3, "a mixture of two phases", phases_of_two_shutdowns);
twin!(twin_phase_looked_at_again_without_a_fence, 4, "a mixture of two phases", phases_of_two_shutdowns);
