//! Naive shapes with many threads: that random schedules find them shows that they would find the like in the bodies beside.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use unwedge::model::thread;

use crate::MANY;
use crate::common::{Failure, fails};

/// Takers that look first and take the lock anew to wait: the notification comes in between.
#[test]
fn twin_many_check_then_register() {
    fails(Failure::Deadlock, None, || {
        let state = Arc::new((Mutex::new(0), Condvar::new()));
        let takers: Vec<_> = (0..MANY)
            .map(|_| {
                let own = state.clone();
                thread::spawn(move || {
                    let empty = *own.0.lock().unwrap() == 0;
                    if empty {
                        drop(own.1.wait(own.0.lock().unwrap()));
                    }
                })
            })
            .collect();
        *state.0.lock().unwrap() = 1;
        state.1.notify_all();
        for taker in takers {
            taker.join().unwrap();
        }
    });
}

/// A stopper that joins with the lock held that its threads want.
#[test]
fn twin_many_joined_under_the_lock() {
    fails(Failure::Deadlock, None, || {
        let mds = Arc::new(Mutex::new(0));
        let held = mds.lock().unwrap();
        let threads: Vec<_> = (0..MANY)
            .map(|_| {
                let mds = mds.clone();
                thread::spawn(move || *mds.lock().unwrap() += 1)
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        drop(held);
    });
}

/// A cell that many use at once, without anything that keeps them apart.
struct Shared(loom::cell::UnsafeCell<u32>, loom::sync::atomic::AtomicUsize);

// SAFETY: what is broken here is just that; the cell panics before anything is touched.
unsafe impl Sync for Shared {}

#[test]
fn twin_many_inside_a_cell() {
    fails(Failure::Panic("Causality violation"), None, || {
        let shared = Arc::new(Shared(loom::cell::UnsafeCell::new(0), loom::sync::atomic::AtomicUsize::new(0)));
        let threads: Vec<_> = (0..MANY)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let inside = shared.0.get_mut();
                    shared.1.load(loom::sync::atomic::Ordering::SeqCst);
                    drop(inside);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
