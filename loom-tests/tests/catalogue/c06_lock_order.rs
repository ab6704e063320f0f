//! 6: tracker 14374, PR 7295. The admin socket's lock and mds_lock are taken in both orders.
//!
//! Cause: two locks without an order. unwedge does not prevent it: until the stop it hangs as with any locks, and the report names both
//! (`tests/report/shapes.rs`, shape 6); the stop ends it, because to take a lock is a wait (L1).

use std::sync::Arc;

use unwedge::model::{self, thread};
use unwedge::{Monitor, Stopped};

use crate::common::explore;
use crate::naive::{Mutex, deadlocks, spawn};
use crate::world::World;

#[test]
fn c06_inverted_lock_order_is_stopped() {
    explore("L1", Some(2), || {
        let world = World::new();
        let admin = Arc::new(Monitor::new("admin_socket", model::Mutex::new(0_u32), &world.stop));
        let other = {
            let (admin, lock) = (admin.clone(), world.lock.clone());
            thread::spawn(move || {
                let first = admin.lock()?;
                let second = lock.lock()?;
                drop((second, first));
                Ok::<(), Stopped>(())
            })
        };
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        if let Ok(first) = world.lock.lock() {
            drop(admin.lock());
            drop(first);
        }
        let _passed_or_stopped = other.join().unwrap();
        stopper.join().unwrap();
    });
}

#[test]
fn c06_twin() {
    let waits = &["operator, with admin_socket, waits for mds_lock", "stop, with mds_lock, waits for admin_socket"];
    deadlocks(Some(2), waits, || {
        let locks = Arc::new((Mutex::new("mds_lock", 0), Mutex::new("admin_socket", 0)));
        let own = locks.clone();
        let operator = spawn("operator", move || {
            let first = own.1.lock();
            drop(own.0.lock());
            drop(first);
        });
        let first = locks.0.lock();
        drop(locks.1.lock());
        drop(first);
        operator.join();
    });
}
