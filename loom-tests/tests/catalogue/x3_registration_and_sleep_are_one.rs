//! MS STL PR 1196 (found in its review). The stop is asked for between the look at the token and the sleep; the callback that it runs notifies nobody yet.
//!
//! Cause: to register for the stop and to go to sleep are two steps. Cure: a wait is published first and the flag looked at then, and a request does it the
//! other way round: one of them sees the other (L1).

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use loom::sync::atomic::AtomicBool;

use crate::common::{explore, happened};
use crate::naive::{Condvar, Mutex, misses, spawn};
use crate::world::World;

#[test]
fn x3_request_beside_a_wait_that_begins() {
    explore("L1", Some(3), || {
        let world = World::new();
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        let waited =
            world.lock.lock().and_then(|guard| guard.wait_while(&world.changed, |value| *value == 0).map(drop));
        assert_eq!(waited, Err(unwedge::Stopped));
        stopper.join().unwrap();
    });
}

#[test]
fn x3_twin() {
    misses(Some(2), &["stop waits for the end of waiter", "waiter waits for the condition variable"], || {
        let token = Arc::new(AtomicBool::new(false));
        let state = Arc::new((Mutex::new("lock", ()), Condvar::new("the condition variable")));
        let (own, condition) = (token.clone(), state.clone());
        let waiter = spawn("waiter", move || {
            let held = condition.0.lock();
            if !own.load(SeqCst) {
                drop(condition.1.wait(held));
            }
        });
        token.store(true, SeqCst);
        state.1.notify_all(); // the stop's callback, without the waiter's lock
        happened();
        waiter.join();
    });
}
