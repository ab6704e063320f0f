//! 19: tracker 10382, PR 3370. The stop frees the heartbeat's handle; a thread that comes out of its wait later resets the heartbeat.
//!
//! Cause: the stop tears down under the threads' feet. Cure: who comes out of a stopped wait gets neither lock nor handle, and what the threads use is torn down
//! by a phase, which runs when they have ended.

use std::sync::Arc;
use std::time::Duration;

use unwedge::{Monitor, Stopped, model};

use crate::common::{Failure, explore, fails};
use crate::naive::{Condvar, Mutex, spawn};
use crate::world::{World, plan};

#[test]
fn c19_handle_is_freed_when_nobody_is_left() {
    explore("L2, L8", Some(2), || {
        let world = World::new();
        let handle = Arc::new(Monitor::new("heartbeat", model::Mutex::new(Some(0)), &world.stop));
        let (inner, own) = (world.clone(), handle.clone());
        let tick = world.stop.spawn("tick", move || {
            let mut heartbeat = own.lock()?;
            loop {
                *heartbeat.as_mut().expect("tick resets a heartbeat that stop has freed") += 1;
                heartbeat = heartbeat.wait(&inner.changed)?;
            }
            #[expect(unreachable_code, reason = "it says what the closure gives")]
            Ok::<(), Stopped>(())
        });
        let left = handle.clone();
        let report = world.stop.shutdown(plan().phase("heartbeat", Duration::from_secs(1), move |phase| {
            left.lock_in(phase)?.take();
            Ok(())
        }));
        assert!(report.is_clean() && report.panicked().is_empty(), "{report}");
        drop(tick);
    });
}

#[test]
fn c19_twin() {
    fails(Failure::Panic("tick resets a heartbeat that stop has freed"), Some(2), || {
        let handle = Arc::new((Mutex::new("mds_lock", (Some(0), false)), Condvar::new("work")));
        let own = handle.clone();
        let tick = spawn("tick", move || {
            let mut state = own.0.lock();
            while !state.1 {
                state = own.1.wait(state);
            }
            *state.0.as_mut().expect("tick resets a heartbeat that stop has freed") += 1;
        });
        *handle.0.lock() = (None, true);
        handle.1.notify_all();
        tick.join();
    });
}
