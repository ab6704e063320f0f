//! Lines of the example's stop path, broken one at a time: a model of the example must fail for each.
//!
//! `build.rs` writes the example's life with each of these lines in two forms; which one runs is asked here, and nowhere seen by loom. With number 0 the life
//! is the example's own, and so it is in every other model. A mutant runs in a process of its own, like any twin, and must fail in the way that is
//! said here.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::common::{Failure, fails};
use crate::{mds, mds_admin};

/// Which line is broken in this process.
static BROKEN: AtomicU32 = AtomicU32::new(0);

/// Whether this line is broken. Called by the life.
pub fn is(number: u32) -> bool {
    BROKEN.load(Ordering::Relaxed) == number
}

/// A model of the example must fail when this line is broken.
macro_rules! mutant {
    ($name:ident, $number:literal, $failure:expr, $model:expr) => {
        #[test]
        fn $name() {
            fails($failure, Some(2), || {
                BROKEN.store($number, Ordering::Relaxed);
                $model;
            });
        }
    };
}

const NOT_SAVED: Failure = Failure::Panic("the sessions are saved");

mutant!(mutant_1_phase_in_the_stopped_domain, 1, NOT_SAVED, mds_admin::saves_what_is_true_at_the_end());
mutant!(
    mutant_2_saves_before_it_serves,
    2,
    Failure::Panic("a stop before it serves has something to save"),
    mds_admin::saves_nothing_before_it_serves()
);
mutant!(mutant_3_saves_unless_it_serves, 3, NOT_SAVED, mds_admin::saves_what_is_true_at_the_end());
mutant!(
    mutant_4_does_not_say_that_it_stops,
    4,
    Failure::Panic("left: Active  right: Stopped"),
    mds_admin::saves_what_is_true_at_the_end()
);
mutant!(mutant_5_saves_what_is_saved, 5, NOT_SAVED, mds_admin::saves_what_is_true_at_the_end());
mutant!(
    mutant_6_forgets_what_came_during_a_save,
    6,
    Failure::Panic("the next life waits for a client that has gone"),
    mds_admin::saves_again_what_changed_during_a_save()
);
mutant!(
    mutant_7_does_not_say_that_it_has_stopped,
    7,
    Failure::Panic("left: Stopping  right: Stopped"),
    mds_admin::saves_what_is_true_at_the_end()
);
mutant!(mutant_8_phase_without_time, 8, Failure::Panic("right: Stopped"), mds_admin::saves_what_is_true_at_the_end());
mutant!(
    mutant_9_failed_write_is_done,
    9,
    Failure::Panic("what could not be saved is called Done"),
    mds_admin::says_what_could_not_be_saved()
);
mutant!(mutant_10_writes_with_the_lock_held, 10, Failure::Deadlock, mds_admin::stopped_beside_an_operator_s_request());
mutant!(
    mutant_11_reads_with_the_lock_held,
    11,
    Failure::Deadlock,
    mds::stopped_with_the_lock_held("400.00000000", &[mds::life::Role::Recovery])
);
