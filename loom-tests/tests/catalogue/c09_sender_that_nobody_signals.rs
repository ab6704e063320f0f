//! 9: tracker 68759, PR 60325 and 60327; measured: up to 4 s of every healthy stop. The beacon's sender sleeps on a condition variable between two beacons; the
//! stop sets its flag, signals another one or none, and joins.
//!
//! Cause: a sleep is a wait, and the stop has to know of it. Cure: `Stop::wait_timeout` is the sleep that a stop ends. (Time stands still in a model, so the sleep
//! of the twin never ends.)

use std::sync::Arc;
use std::time::Duration;

use crate::common::{explore, happened};
use crate::naive::{Condvar, Mutex, misses, spawn};
use crate::world::{World, plan};

#[test]
fn c09_sender_is_woken_by_the_stop() {
    explore("L1", Some(3), || {
        let world = World::new();
        let stop = world.stop.clone();
        let beacon = world.stop.spawn("beacon", move || {
            let mut sent = 0;
            while !stop.wait_timeout(Duration::from_secs(4)) {
                sent += 1;
            }
            sent
        });
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        drop(beacon);
    });
}

#[test]
fn c09_twin() {
    misses(Some(2), &["stop waits for the end of beacon", "beacon waits for the next beacon"], || {
        let state = Arc::new((Mutex::new("beacon's lock", false), Condvar::new("the next beacon")));
        let own = state.clone();
        let beacon = spawn("beacon", move || {
            let mut stopping = own.0.lock();
            while !*stopping {
                stopping = own.1.wait(stopping); // 4 s
            }
        });
        *state.0.lock() = true;
        happened();
        beacon.join();
    });
}
