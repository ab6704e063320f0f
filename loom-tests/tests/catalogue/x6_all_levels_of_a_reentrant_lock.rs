//! parking_lot #452. A wait that lets all levels of a reentrant lock go takes the lock from under the outer level's borrow.
//!
//! Cause: the outer level's reference says that nobody writes. Cure: none by the library: a wait lets one level go, and the lock stays the thread's while it has
//! another, until the stop. What stops the unsound form is a type (`LockData` is not there for a reentrant lock, so it has no `when`), and what is left is said in
//! the docs and seen on real threads (`tests/locks/condvar.rs`, a_wait_releases_one_level_of_a_reentrant_mutex), because models have no reentrant lock.

use std::sync::Arc;

use loom::cell::UnsafeCell;

use crate::common::{Failure, fails};
use crate::naive::{Mutex, spawn};

/// What the lock protects. loom checks every access.
struct Data(UnsafeCell<u32>);

// SAFETY: who touches it has the lock; the twin breaks just that, and loom says so.
unsafe impl Sync for Data {}
// SAFETY: it is a number.
unsafe impl Send for Data {}

#[test]
fn x6_twin() {
    fails(Failure::Panic("currently reading from cell"), Some(2), || {
        let shared = Arc::new((Mutex::new("reentrant", ()), Data(UnsafeCell::new(0))));
        let own = shared.clone();
        let setter = spawn("setter", move || {
            let held = own.0.lock();
            // SAFETY: the lock is held, as far as this thread can see.
            own.1.0.with_mut(|data| unsafe { *data = 1 });
            drop(held);
        });
        let outer = shared.0.lock();
        shared.1.0.with(|data| {
            // The inner level waits, and lets all levels go.
            drop(outer);
            loom::thread::yield_now();
            let _inner = shared.0.lock();
            // SAFETY: the outer level has borrowed it.
            let _seen = unsafe { *data };
        });
        setter.join();
    });
}
