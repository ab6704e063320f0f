//! llvm #76807, #77127. libc++'s `condition_variable_any::wait` with a stop token looked at the token in its loop and registered nothing that wakes it.
//!
//! Cause: a token that is only looked at. Cure: there is no wait without a domain, and a request ends every wait of its domain.

use std::sync::Arc;

use crate::common::{explore, happened};
use crate::naive::{Condvar, Mutex, misses, spawn};
use crate::world::{World, plan};

#[test]
fn x4_wait_over_a_lock_of_one_s_own_is_stopped() {
    explore("L1", Some(3), || {
        let world = World::new();
        let lock = Arc::new(unwedge::model::Mutex::new(0_u32));
        let (inner, own) = (world.clone(), lock.clone());
        let worker = world.stop.spawn("worker", move || {
            let mut guard = own.lock();
            while *guard == 0 {
                guard = inner.changed.wait(&inner.stop, &*own, guard)?;
            }
            Ok::<(), unwedge::Stopped>(())
        });
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        drop(worker);
    });
}

#[test]
fn x4_twin() {
    misses(Some(2), &["stop waits for the end of worker", "worker waits for the condition variable"], || {
        let state = Arc::new((Mutex::new("lock", false), Condvar::new("the condition variable")));
        let own = state.clone();
        let worker = spawn("worker", move || {
            let mut stop_requested = own.0.lock();
            while !*stop_requested {
                stop_requested = own.1.wait(stop_requested);
            }
        });
        *state.0.lock() = true;
        happened();
        worker.join();
    });
}
