//! 14: tracker 22360. Callbacks run after the journaler began to stop, and touch what it has already torn down.
//!
//! Cause: a stop that does not say to each callback which side of it it is on. Cure: a callback is given its result or `Stopped`, exactly one of them (L5);
//! and the shutdown ends after the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Failure, explore, fails};
use crate::naive::{Mutex, Reply, spawn};
use crate::world::{World, plan};

#[test]
fn c14_no_callback_after_the_shutdown() {
    explore("L5, L6", Some(2), || {
        let world = World::new();
        // Not seen by loom: it is a question of order alone.
        let over = Arc::new(AtomicBool::new(false));
        let (completer, completion) = world.owed::<u32>();
        let seen = over.clone();
        completion
            .on_complete(&world.stop, move |result| {
                assert!(!seen.load(Ordering::Relaxed), "a callback after the shutdown");
                assert!(matches!(result, Ok(Ok(7)) | Err(unwedge::Stopped)));
            })
            .unwrap();
        let storage = world.thread(move |_| completer.complete(7));
        let report = world.stop.shutdown(plan());
        over.store(true, Ordering::Relaxed);
        assert!(report.is_clean(), "{report}");
        let _unwanted = storage.join().unwrap();
    });
}

#[test]
fn c14_twin() {
    fails(Failure::Panic("finisher runs a callback of a journaler that stop has torn down"), Some(2), || {
        let journaler = Arc::new(Mutex::new("journaler", Some(7)));
        let read = Arc::new(Reply::new("the read"));
        let (own, result) = (journaler.clone(), read.clone());
        let finisher = spawn("finisher", move || {
            let value = result.wait();
            let mut journaler = own.lock();
            let position = journaler.as_mut().expect("finisher runs a callback of a journaler that stop has torn down");
            *position += value;
        });
        read.give(1);
        *journaler.lock() = None;
        finisher.join();
    });
}
