//! 5: tracker 19204, PR 13859. The stop shuts the object store's client down first; callbacks that still run submit to it.
//!
//! Cause: what callbacks use ends before them, because nobody knows how many are left. Cure: a callback has its result or `Stopped`, so that it knows when
//! not to go on; what it submits all the same is owed to a stopped domain; and the client is closed by a phase, when the members have ended.

use std::sync::Arc;

use unwedge::Completion;

use crate::common::{Failure, explore, fails};
use crate::naive::{Mutex, spawn};
use crate::world::{World, plan};

#[test]
fn c05_store_ends_after_who_uses_it() {
    explore("L5", Some(2), || {
        let world = World::new();
        let (completer, mut first) = world.owed::<u32>();
        let storage = world.thread(move |_| completer.complete(1));
        let inner = world.clone();
        let finisher = world.stop.spawn("finisher", move || {
            first.wait()?.unwrap();
            let open = *inner.lock.lock()? == 0;
            assert!(open, "the store is closed while somebody may submit");
            // Submits again: the stop may have come meanwhile.
            let (_completer, mut second) = Completion::<u32>::new("second", &inner.stop);
            second.wait()
        });
        let store = world.lock.clone();
        let close = plan().phase("close the store", std::time::Duration::from_secs(1), move |phase| {
            *store.lock_in(phase)? = 1;
            Ok(())
        });
        let report = world.stop.shutdown(close);
        assert!(report.is_clean() && report.panicked().is_empty(), "{report}");
        let _unwanted = storage.join().unwrap();
        drop(finisher);
    });
}

#[test]
fn c05_twin() {
    fails(Failure::Panic("finisher submits to a store that stop has shut down"), Some(2), || {
        let store = Arc::new(Mutex::new("store", true));
        let own = store.clone();
        let finisher = spawn("finisher", move || {
            assert!(*own.lock(), "finisher submits to a store that stop has shut down");
        });
        *store.lock() = false;
        finisher.join();
    });
}
