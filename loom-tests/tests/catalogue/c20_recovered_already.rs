//! 20: commit 80cf872d82. A wait for recovery waits for the news of it, and misses that it is already there.
//!
//! Cause: an event is waited for, and not a state. Cure: `when` looks at the state under the lock, first and after every change.

use std::sync::Arc;

use crate::common::{explore, happened};
use crate::naive::{Condvar, Mutex, misses, spawn};
use crate::world::World;

#[test]
fn c20_recovery_that_is_over_is_seen() {
    explore("L3", Some(3), || {
        let world = World::new();
        let recovery = world.thread(|world| *world.lock.lock().unwrap() = 1);
        assert_eq!(world.lock.when(|recovered| (*recovered == 1).then_some(())), Ok(()));
        recovery.join().unwrap();
    });
}

#[test]
fn c20_twin() {
    misses(Some(2), &["stop waits for recovered"], || {
        let journaler = Arc::new((Mutex::new("journaler", false), Condvar::new("recovered")));
        let own = journaler.clone();
        let recovery = spawn("recovery", move || {
            *own.0.lock() = true;
            own.1.notify_all();
            happened();
        });
        // It waits for the news, and not for the state.
        drop(journaler.1.wait(journaler.0.lock()));
        recovery.join();
    });
}
