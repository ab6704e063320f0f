//! MS STL #2218 (mended by #2220), HPX #3068. Two calls of `condition_variable_any::wait_until` whose deadline is past: one takes the user's lock again while it
//! holds the variable's own, the other holds the user's and wants the variable's.
//!
//! Cause: two locks, and the way out takes them in the other order than the way in. Cure: no lock of unwedge's is held while the user's is taken or let go (L6).

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Mutex, deadlocks, spawn};
use crate::world::World;

#[test]
fn x1_two_waits_whose_deadline_is_past() {
    explore("L6", Some(2), || {
        let world = World::new();
        let wait = |world: &World| {
            let back = world.lock.lock()?.wait_until(&world.changed, unwedge::model::now())?;
            assert!(back.timed_out);
            Ok::<(), unwedge::Stopped>(())
        };
        let other = world.thread(move |world| wait(&world));
        wait(&world).unwrap();
        other.join().unwrap().unwrap();
    });
}

#[test]
fn x1_twin() {
    let waits = &["other, with the user's lock, waits for inner", "stop, with inner, waits for the user's lock"];
    deadlocks(Some(2), waits, || {
        let locks = Arc::new((Mutex::new("the user's lock", ()), Mutex::new("inner", ())));
        let wait = |(outer, inner): &(Mutex<()>, Mutex<()>)| {
            let user = outer.lock();
            let own = inner.lock();
            drop(user);
            // The deadline is past.
            let user = outer.lock();
            drop((own, user));
        };
        let own = locks.clone();
        let other = spawn("other", move || wait(&own));
        wait(&locks);
        other.join();
    });
}
