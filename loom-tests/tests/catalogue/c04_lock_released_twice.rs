//! 4: tracker 17126, PR 10847. A backport lets mds_lock go twice on its way out of the stop, the second time while somebody else holds it.
//!
//! Cause: lock and unlock are calls that nobody pairs. Cure: by type: who lets a guard go, or loses it to a wait that a stop ends, has none left
//! (`compile_fail/c04_lock_released_twice.rs`); the model shows that after a stopped wait nobody but the next has the lock.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Failure, explore, fails};
use crate::naive::{Condvar, Mutex, spawn};
use crate::world::{World, plan};

/// Whether somebody is inside. Not seen by loom.
#[derive(Default)]
struct Inside(AtomicBool);

impl Inside {
    /// Goes in, lets others run, and leaves.
    fn pass(&self, who: &str) {
        assert!(!self.0.swap(true, Ordering::Relaxed), "{who} is inside mds_lock, and so is another");
        loom::thread::yield_now();
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn c04_lock_is_let_go_once() {
    explore("L2", Some(2), || {
        let (world, inside) = (World::new(), Arc::new(Inside::default()));
        let (inner, own) = (world.clone(), inside.clone());
        let waiter = world.stop.spawn("waiter", move || {
            let state = inner.lock.lock()?;
            own.pass("waiter");
            // The stop ends it here, and nothing is left that could be let go again.
            state.wait(&inner.changed).map(drop)
        });
        if let Ok(held) = world.lock.lock() {
            inside.pass("stop");
            assert!(world.stop.shutdown_holding(held, plan()).is_clean());
        }
        drop(waiter);
    });
}

/// A lock of the C kind: whoever calls it unlocks it.
struct Raw(Mutex<Cell<bool>>, Condvar);

impl Raw {
    fn lock(&self) {
        let mut locked = self.0.lock();
        while locked.get() {
            locked = self.1.wait(locked);
        }
        locked.set(true);
    }

    fn unlock(&self) {
        self.0.lock().set(false);
        self.1.notify_all();
    }
}

#[test]
fn c04_twin() {
    fails(Failure::Panic("tick is inside mds_lock, and so is another"), Some(2), || {
        let mds = Arc::new(Raw(Mutex::new("its word", Cell::new(false)), Condvar::new("mds_lock")));
        let inside = Arc::new(Inside::default());
        let threads = ["dispatcher", "tick"].map(|name| {
            let (lock, inside) = (mds.clone(), inside.clone());
            spawn(name, move || {
                lock.lock();
                inside.pass(name);
                lock.unlock();
            })
        });
        mds.lock();
        mds.unlock();
        mds.unlock(); // the backport's
        for thread in threads {
            thread.join();
        }
    });
}
