//! 10: tracker 38822, PR 27063; 10550. A stop that comes early joins threads that were never started, and fails an assertion.
//!
//! Cause: a thread's object is there before the thread. Cure: by type: a `Spawned` comes from `spawn` alone (`compile_fail/c10_join_of_what_never_started.rs`);
//! and the domain, which joins, knows who has begun.

use std::sync::Arc;

use crate::common::{Failure, explore, fails};
use crate::naive::{Mutex, Thread, spawn};
use crate::world::{World, plan};

#[test]
fn c10_stop_joins_who_has_begun() {
    explore("L7", Some(2), || {
        let world = World::new();
        let boot = world.thread(|world| {
            // The boot has come this far, or the stop was first.
            let inner = world.clone();
            let read = move || inner.lock.lock().and_then(|state| state.wait(&inner.changed).map(drop));
            world.stop.spawn("replay", read).map(drop)
        });
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        boot.join().unwrap().unwrap();
        // Whoever begins in a stopped domain ends at its first wait, and is joined as well.
        assert!(world.stop.shutdown(plan()).is_clean());
    });
}

#[test]
fn c10_twin() {
    fails(Failure::Panic("stop joins replay, which boot has not started"), Some(2), || {
        let replay = Arc::new(Mutex::new("threads", None::<Thread>));
        let own = replay.clone();
        let boot = spawn("boot", move || *own.lock() = Some(spawn("replay", || {})));
        let started = replay.lock().take();
        started.expect("stop joins replay, which boot has not started").join();
        boot.join();
    });
}
