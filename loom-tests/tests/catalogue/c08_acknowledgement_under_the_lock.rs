//! 8: tracker 68760, PR 60326. The stop waits for the monitors' acknowledgement of its last beacon under mds_lock; the dispatcher that delivers it needs mds_lock.
//!
//! Cause: a wait for a message with the lock held that messages need. Cure: `wait_for` lets the lock go while it waits; and it is stoppable too.

use std::sync::Arc;

use crate::common::explore;
use crate::naive::{Mutex, Reply, deadlocks, spawn};
use crate::world::World;

#[test]
fn c08_acknowledgement_is_waited_for_with_the_lock_free() {
    explore("L2", Some(2), || {
        let world = World::new();
        let (completer, mut ack) = world.owed::<u32>();
        let dispatcher = world.thread(|world| {
            let mut state = world.lock.lock().unwrap();
            *state += 1;
            completer.complete(*state)
        });
        let (state, seen) = world.lock.lock().unwrap().wait_for(&mut ack).unwrap();
        assert_eq!(seen, Ok(*state));
        drop(state);
        dispatcher.join().unwrap().unwrap();
    });
}

#[test]
fn c08_twin() {
    deadlocks(Some(2), &["stop, with mds_lock, waits for the ack", "dispatcher waits for mds_lock"], || {
        let mds = Arc::new(Mutex::new("mds_lock", 0));
        let ack = Arc::new(Reply::new("the ack"));
        let (lock, own) = (mds.clone(), ack.clone());
        let dispatcher = spawn("dispatcher", move || {
            *lock.lock() += 1;
            own.give(1);
        });
        let held = mds.lock();
        ack.wait();
        drop(held);
        dispatcher.join();
    });
}
