//! 12: tracker 20165, PR 15430. The journaler runs a completion with its own lock held; the completion calls the journaler.
//!
//! Cause: foreign code under a lock. Cure: `complete` runs no callback: those run on the domain's callback thread, where no lock of anybody's is held (L6).

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Mutex, deadlocks, spawn};
use crate::world::{World, plan};

#[test]
fn c12_completion_may_take_the_lock_of_who_completes() {
    explore("L6", Some(2), || {
        let world = World::new();
        let (completer, completion) = world.owed::<u32>();
        let inner = world.clone();
        completion
            .on_complete(&world.stop, move |result| {
                if let (Ok(Ok(value)), Ok(mut position)) = (result, inner.lock.lock()) {
                    *position += value;
                }
            })
            .unwrap();
        let mut journaler = world.lock.lock().unwrap();
        *journaler = 1;
        let _unwanted = completer.complete(1); // under the journaler's lock
        drop(journaler);
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean() && report.panicked().is_empty(), "{report}");
    });
}

#[test]
fn c12_twin() {
    deadlocks(Some(2), &["stop, with journaler, waits for journaler"], || {
        let journaler = Arc::new(Mutex::new("journaler", 0));
        let own = journaler.clone();
        let completion = move || *own.lock() += 1;
        // Another thread, so that there is something to explore: it uses the journaler, too.
        let other = journaler.clone();
        let reader = spawn("reader", move || drop(other.lock()));
        reader.join();
        let held = journaler.lock();
        completion();
        drop(held);
    });
}
