//! 11: tracker 57764, PR 48281. Who waits looks whether the journal is safe, and then registers for it; the completion comes in between.
//!
//! Cause: two steps that must be one. Cure: every wait registers before the lock is let go (L3), and a completion keeps its value for who comes later.

use std::sync::Arc;

use crate::common::{explore, happened};
use crate::naive::{Condvar, Mutex, misses, spawn};
use crate::world::World;

#[test]
fn c11_completion_before_the_wait_is_seen() {
    explore("L3", None, || {
        let world = World::new();
        let (completer, mut safe) = world.owed::<u32>();
        let finisher = world.thread(move |_| completer.complete(7));
        assert_eq!(safe.wait(), Ok(Ok(7)));
        finisher.join().unwrap().unwrap();
    });
}

#[test]
fn c11_twin() {
    misses(Some(2), &["stop waits for safe"], || {
        let journal = Arc::new((Mutex::new("journal", false), Condvar::new("safe")));
        let own = journal.clone();
        let finisher = spawn("finisher", move || {
            *own.0.lock() = true;
            own.1.notify_all();
            happened();
        });
        let safe = *journal.0.lock(); // looked at, and let go
        if !safe {
            drop(journal.1.wait(journal.0.lock()));
        }
        finisher.join();
    });
}
