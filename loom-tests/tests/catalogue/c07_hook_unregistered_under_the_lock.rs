//! 7: PR 57274, and measured: `flush journal` waits on the admin socket, and the stop never ends. To unregister a hook waits for it, with mds_lock held; the
//! hook needs mds_lock to finish.
//!
//! Cause: as in 2, by way of a registry of hooks that counts who is inside. Cure: a hook's thread is a member of the domain, and its wait for the lock is
//! stopped, so that it ends while the stopper holds the lock.

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Condvar, Mutex, deadlocks, spawn};
use crate::world::{World, plan};

#[test]
fn c07_hook_is_unregistered_under_the_lock() {
    explore("L2", Some(2), || {
        let world = World::new();
        let inner = world.clone();
        let hook = world.stop.spawn("admin_socket", move || inner.lock.lock().map(|mut value| *value += 1));
        let held = world.lock.lock().unwrap();
        let report = world.stop.shutdown_holding(held, plan());
        assert!(report.is_clean(), "{report}");
        drop(hook);
    });
}

#[test]
fn c07_twin() {
    deadlocks(Some(2), &["stop, with mds_lock, waits for no hook", "admin_socket waits for mds_lock"], || {
        let mds = Arc::new(Mutex::new("mds_lock", 0));
        let hooks = Arc::new((Mutex::new("hooks", 0), Condvar::new("no hook")));
        *hooks.0.lock() += 1; // a command has begun
        let (lock, own) = (mds.clone(), hooks.clone());
        let command = spawn("admin_socket", move || {
            *lock.lock() += 1;
            *own.0.lock() -= 1;
            own.1.notify_all();
        });
        let held = mds.lock();
        let mut inside = hooks.0.lock();
        while *inside > 0 {
            inside = hooks.1.wait(inside);
        }
        drop((inside, held));
        command.join();
    });
}
