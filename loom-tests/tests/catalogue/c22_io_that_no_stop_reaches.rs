//! 22: measured (more than 180 s, six times of six). A thread is in a synchronous read of storage that never answers; the stop joins it, with mds_lock held.
//!
//! Cause: the wait is inside a library that knows of no stop. Cure: the read is a completion, and a stop ends the wait for it; what the kernel still has is left
//! to it (L4).

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Mutex, Reply, deadlocks, spawn};
use crate::world::{World, plan};

#[test]
fn c22_read_that_never_ends_is_left() {
    explore("L1, L2", Some(3), || {
        let world = World::new();
        let (storage, mut pointer) = world.owed::<u32>();
        let inner = world.clone();
        let recovery = world.stop.spawn("recovery", move || {
            let (mut state, read) = inner.lock.lock()?.wait_for(&mut pointer)?;
            *state = read.unwrap_or(0);
            Ok::<(), unwedge::Stopped>(())
        });
        if let Ok(held) = world.lock.lock() {
            let report = world.stop.shutdown_holding(held, plan());
            assert!(report.is_clean(), "{report}");
        }
        // Long after the life has ended, for nobody.
        assert_eq!(storage.complete(1), Err(1));
        drop(recovery);
    });
}

#[test]
fn c22_twin() {
    let waits = &["recovery waits for JournalPointer::load", "stop, with mds_lock, waits for the end of recovery"];
    deadlocks(Some(2), waits, || {
        let mds = Arc::new(Mutex::new("mds_lock", 0));
        let read = Arc::new(Reply::<i32>::new("JournalPointer::load"));
        let (lock, own) = (mds.clone(), read.clone());
        let recovery = spawn("recovery", move || {
            let pointer = own.wait();
            *lock.lock() = pointer;
        });
        let held = mds.lock();
        recovery.join();
        drop(held);
    });
}
