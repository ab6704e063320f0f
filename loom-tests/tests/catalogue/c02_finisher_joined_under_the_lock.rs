//! 2: tracker 16042, PR 10142. The stop joins the finisher with mds_lock held; the finisher's callbacks need mds_lock.
//!
//! Cause: to take the lock in a callback is a wait that no stop reaches. Cure: it is a wait like any other: the stop ends it without the lock (L2).

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Mutex, deadlocks, spawn};
use crate::world::{World, plan};

#[test]
fn c02_finisher_is_joined_under_the_lock() {
    explore("L2", Some(2), || {
        let world = World::new();
        let (completer, completion) = world.owed::<u32>();
        let inner = world.clone();
        completion
            .on_complete(&world.stop, move |result| {
                if let (Ok(Ok(value)), Ok(mut state)) = (result, inner.lock.lock()) {
                    *state = value;
                }
            })
            .unwrap();
        let held = world.lock.lock().unwrap();
        let _unwanted = completer.complete(7);
        let report = world.stop.shutdown_holding(held, plan());
        assert!(report.is_clean(), "{report}");
    });
}

#[test]
fn c02_twin() {
    deadlocks(Some(2), &["stop, with mds_lock, waits for the end of finisher", "finisher waits for mds_lock"], || {
        let mds = Arc::new(Mutex::new("mds_lock", 0));
        let own = mds.clone();
        let finisher = spawn("finisher", move || *own.lock() = 7);
        let held = mds.lock();
        finisher.join();
        drop(held);
    });
}
