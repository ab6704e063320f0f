//! 3: tracker 16396, PR 9884. The messenger is shut down under mds_lock and waits for its dispatcher, which delivers resets that take mds_lock.
//!
//! Cause: one part is ended under a lock that its last words need. Cure: the part is a domain of its own, and takes the lock in that: to end it ends
//! the wait for the lock too, and the rest of the daemon goes on.

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Condvar, Mutex, deadlocks, spawn};
use crate::world::{World, plan};

#[test]
fn c03_messenger_is_shut_down_under_the_lock() {
    explore("L2", Some(2), || {
        let world = World::new();
        let messenger = world.stop.child("messenger");
        let (inner, part) = (world.clone(), messenger.clone());
        let dispatcher = messenger.spawn("dispatcher", move || {
            // A peer hangs up, or the messenger ends: the server is told.
            part.wait_timeout(std::time::Duration::from_secs(1));
            inner.lock.lock_in(&part).map(|mut resets| *resets += 1)
        });
        let held = world.lock.lock().unwrap();
        let report = messenger.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        assert!(!world.stop.is_requested(), "the server itself goes on");
        drop((held, dispatcher));
    });
}

#[test]
fn c03_twin() {
    deadlocks(Some(2), &["stop, with mds_lock, waits for idle", "dispatcher waits for mds_lock"], || {
        let mds = Arc::new(Mutex::new("mds_lock", 0));
        let queue = Arc::new((Mutex::new("queue", (false, false)), Condvar::new("close"), Condvar::new("idle")));
        let (lock, own) = (mds.clone(), queue.clone());
        let dispatcher = spawn("dispatcher", move || {
            let mut state = own.0.lock();
            while !state.0 {
                state = own.1.wait(state);
            }
            drop(state);
            *lock.lock() += 1; // ms_handle_reset
            own.0.lock().1 = true;
            own.2.notify_one();
        });
        let held = mds.lock();
        let mut state = queue.0.lock();
        state.0 = true;
        queue.1.notify_one();
        while !state.1 {
            state = queue.2.wait(state);
        }
        drop((state, held));
        dispatcher.join();
    });
}
