//! 21: PR 71959, tracker 66578. A submitter waits for room in a throttle with mds_lock held; the replies that would make room need mds_lock.
//!
//! Cause: as in 8: a wait under the lock that its end needs. Cure: the throttle is a condition of the monitor, whose wait lets the lock go.

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Condvar, Mutex, deadlocks, spawn};
use crate::world::World;

#[test]
fn c21_throttle_lets_the_lock_go() {
    explore("L2", Some(2), || {
        let world = World::new();
        *world.lock.lock().unwrap() = 1; // in flight: the limit
        let replies = world.thread(|world| {
            *world.lock.lock().unwrap() -= 1;
            world.changed.notify_one();
        });
        let mut in_flight = world.lock.lock().unwrap().wait_while(&world.changed, |in_flight| *in_flight == 1).unwrap();
        *in_flight += 1;
        drop(in_flight);
        replies.join().unwrap();
    });
}

#[test]
fn c21_twin() {
    deadlocks(Some(2), &["stop, with mds_lock, waits for room", "replies waits for mds_lock"], || {
        let mds = Arc::new(Mutex::new("mds_lock", ()));
        let throttle = Arc::new((Mutex::new("throttle", 1), Condvar::new("room")));
        let (lock, own) = (mds.clone(), throttle.clone());
        let replies = spawn("replies", move || {
            let held = lock.lock();
            *own.0.lock() -= 1;
            own.1.notify_one();
            drop(held);
        });
        let held = mds.lock();
        let mut in_flight = throttle.0.lock();
        while *in_flight == 1 {
            in_flight = throttle.1.wait(in_flight);
        }
        drop((in_flight, held));
        replies.join();
    });
}
