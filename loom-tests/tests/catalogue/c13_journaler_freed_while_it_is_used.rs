//! 13: tracker 50807, PR 41332. The recovery thread frees the journaler, or puts another in its place, while another thread uses it beyond the lock.
//!
//! Cause: a pointer that was read under the lock outlives the guard. Cure: by type: what a guard lends cannot be kept across a wait, which takes the guard
//! (`compile_fail/c13_journaler_used_across_a_wait.rs`); what is to be used beyond the lock is an `Arc`, and lives as long as its user.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use unwedge::Monitor;
use unwedge::model;

use crate::common::{Failure, explore, fails};
use crate::naive::{Mutex, spawn};
use crate::world::World;

/// What is read from a journaler. loom checks every access.
struct Journaler(UnsafeCell<u32>);

// SAFETY: in the model below it is only read once it is shared; the twin breaks just that, and loom says so.
unsafe impl Sync for Journaler {}
// SAFETY: it is a number.
unsafe impl Send for Journaler {}

impl Journaler {
    fn position(&self) -> u32 {
        // SAFETY: nobody writes to a journaler that is shared; loom panics where somebody does.
        self.0.with(|position| unsafe { *position })
    }

    fn free(&self) {
        // SAFETY: as above.
        self.0.with_mut(|position| unsafe { *position = u32::MAX });
    }
}

#[test]
fn c13_journaler_lives_as_long_as_its_user() {
    explore("–", Some(3), || {
        let world = World::new();
        let journaler = Arc::new(Journaler(UnsafeCell::new(7)));
        let mds = Arc::new(Monitor::new("mds", model::Mutex::new(journaler), &world.stop));
        let own = mds.clone();
        let trim = loom::thread::spawn(move || {
            let journaler = Arc::clone(&*own.lock().unwrap());
            assert_eq!(journaler.position() % 7, 0); // beyond the lock
        });
        *mds.lock().unwrap() = Arc::new(Journaler(UnsafeCell::new(14)));
        trim.join().unwrap();
    });
}

#[test]
fn c13_twin() {
    fails(Failure::Panic("Causality violation: Concurrent read and write accesses"), Some(2), || {
        let journaler = Arc::new(Journaler(UnsafeCell::new(7)));
        let mds = Arc::new(Mutex::new("mds_lock", ()));
        let (own, lock) = (journaler.clone(), mds.clone());
        let trim = spawn("trim", move || {
            drop(lock.lock()); // where it reads the pointer
            own.position();
        });
        let held = mds.lock();
        journaler.free();
        drop(held);
        trim.join();
    });
}
