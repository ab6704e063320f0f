//! The example's metadata server, all of it: the three threads of a boot, clients, an operator, storage that comes back, a phase, and who stops it.

use std::time::Duration;

use unwedge::model::{self, thread};

use crate::common::explore_as;
use crate::mds::life::Role;
use crate::mds::{NEVER, begin, is_over};

/// A stop at any point of a life with eleven threads, over storage of which one object is slow; `holding`: by who holds the MDS lock.
fn whole_life(slow: Option<&'static str>, holding: bool) {
    let (stop, pool, life) = begin(slow, &[Role::Recovery, Role::Replay, Role::Boot]);
    let clients: Vec<_> = (1..=3)
        .map(|client| {
            let life = life.clone();
            let come_and_go = move || {
                life.mds().when(|mds| mds.open_session(client))?.ok();
                life.mds().lock().map(|mut mds| mds.close_session(client))
            };
            stop.spawn("client", come_and_go).unwrap()
        })
        .collect();
    let flushing = life.clone();
    let operator = stop.spawn("admin", move || flushing.flush().is_ok()).unwrap();
    let storage = pool.clone();
    let back = thread::spawn(move || storage.answer_held());
    let clock = model::time_passes(Duration::from_secs(10));
    let plan = life.plan(NEVER, NEVER / 2);
    let report = match life.mds().lock() {
        Ok(held) if holding => stop.shutdown_holding(held, plan),
        held => {
            drop(held);
            stop.shutdown(plan)
        }
    };
    assert!(report.is_clean() && report.panicked().is_empty(), "{report}");
    back.join().unwrap();
    clock.join().unwrap();
    drop((clients, operator));
    is_over(&life);
    pool.answer_held();
}

#[test]
fn whole_life_over_good_storage() {
    explore_as("whole_life_over_good_storage", "L1 to L8", None, || whole_life(None, false));
}

#[test]
fn whole_life_while_the_pointer_is_read() {
    explore_as("whole_life_while_the_pointer_is_read", "L1, L2", None, || whole_life(Some("400.00000000"), true));
}

#[test]
fn whole_life_while_the_tables_are_read() {
    explore_as("whole_life_while_the_tables_are_read", "L1, L2", None, || whole_life(Some("mds0_inotable"), true));
}
