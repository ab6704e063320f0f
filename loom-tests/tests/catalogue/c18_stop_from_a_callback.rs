//! 18: commit 4773d133a7. A stop that a finisher's callback calls joins the finisher, which is itself.
//!
//! Cause: a stop that may not be called from everywhere. Cure: it may (L7): who shuts down is not waited for, and is a member again afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::explore;
use crate::naive::{Mutex, Reply, Thread, deadlocks, spawn};
use crate::world::{World, plan};

#[test]
fn c18_stop_from_a_callback() {
    explore("L7", Some(2), || {
        let world = World::new();
        let ran = Arc::new(AtomicUsize::new(0));
        let (completer, completion) = world.owed::<u32>();
        let (own, seen) = (world.stop.clone(), ran.clone());
        completion
            .on_complete(&world.stop, move |_| {
                assert!(own.shutdown(plan()).is_clean());
                seen.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        let _unwanted = completer.complete(1);
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean() && report.panicked().is_empty(), "{report}");
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn c18_twin() {
    deadlocks(Some(2), &["finisher waits for the end of finisher", "stop waits for the shutdown's end"], || {
        let finisher = Arc::new(Mutex::new("threads", None::<Thread>));
        let ended = Arc::new(Reply::new("the shutdown's end"));
        let (own, end) = (finisher.clone(), ended.clone());
        let mut threads = finisher.lock();
        *threads = Some(spawn("finisher", move || {
            // A callback that shuts the daemon down.
            let me = own.lock().take();
            me.into_iter().for_each(Thread::join);
            end.give(());
        }));
        drop(threads);
        ended.wait();
    });
}
