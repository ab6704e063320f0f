//! 1: tracker 11985, PR 5001. The replay thread waits until the journaler has readable data; the stop sets its flag, wakes nobody, and joins.
//!
//! Cause: the stop knows the thread and not what it waits on. Cure: the wait belongs to the life's domain, so a stop ends it wherever it is.

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Condvar, Mutex, deadlocks, spawn};
use crate::world::{World, plan};

#[test]
fn c01_replay_is_stopped_while_it_waits() {
    explore("L1", Some(3), || {
        let world = World::new();
        let inner = world.clone();
        let replay = world.stop.spawn("replay", move || {
            let readable = inner.lock.lock()?.wait_while(&inner.changed, |position| *position == 0)?;
            Ok::<u32, unwedge::Stopped>(*readable)
        });
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        drop(replay);
    });
}

#[test]
fn c01_twin() {
    deadlocks(Some(2), &["stop waits for the end of replay", "replay waits for readable"], || {
        let journaler = Arc::new((Mutex::new("mds_lock", (false, 0)), Condvar::new("readable")));
        let own = journaler.clone();
        let replay = spawn("replay", move || {
            let mut state = own.0.lock();
            while !state.0 && state.1 == 0 {
                state = own.1.wait(state);
            }
        });
        journaler.0.lock().0 = true; // stopping; and nobody is told
        replay.join();
    });
}
