//! MS STL #369. A wait whose deadline is already past returns without having let the lock go: who polls so keeps everybody else out.
//!
//! Cause: the way out before the wait. Cure: a wait is a release point whatever its deadline is: the other one gets in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{Failure, explore, fails};
use crate::naive::{Guard, Mutex, spawn};
use crate::world::{World, later, time_passes};

/// In how many executions the other one got in during the wait.
static GOT_IN: AtomicUsize = AtomicUsize::new(0);

#[test]
fn x2_past_deadline_lets_the_lock_go() {
    explore("L2", Some(2), || {
        let world = World::new();
        let deadline = later();
        let held = world.lock.lock().unwrap();
        let setter = world.thread(|world| *world.lock.lock().unwrap() = 1);
        let clock = world.thread(|_| time_passes());
        // Past when it begins, or soon: the lock is let go and comes back.
        let back = held.wait_until(&world.changed, deadline).unwrap();
        assert!(back.timed_out);
        let back = back.guard.wait_until(&world.changed, unwedge::model::now()).unwrap();
        assert!(back.timed_out);
        GOT_IN.fetch_add(*back.guard as usize, Ordering::Relaxed);
        drop(back);
        setter.join().unwrap();
        clock.join().unwrap();
    });
    assert!(GOT_IN.load(Ordering::Relaxed) > 0);
}

/// A wait until a time that is past, which has nothing to do.
fn wait_until_past(guard: Guard<'_, bool>) -> Guard<'_, bool> {
    loom::thread::yield_now();
    guard
}

#[test]
fn x2_twin() {
    fails(Failure::Panic("Model exceeded maximum number of branches"), Some(2), || {
        let lock = Arc::new(Mutex::new("lock", false));
        let mut held = lock.lock();
        let own = lock.clone();
        let setter = spawn("setter", move || *own.lock() = true);
        while !*held {
            held = wait_until_past(held);
        }
        drop(held);
        setter.join();
    });
}
