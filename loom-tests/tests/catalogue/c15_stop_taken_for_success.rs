//! 15: tracker 15689, and measured. Waiters that a stop wakes with 0 take it for success; woken with ESHUTDOWN (108, which is EBLOCKLISTED too) they take it
//! for fencing, and the daemon executes itself again.
//!
//! Cause: a stop told as a number among results. Cure: it is a type of its own: one `?` for the stop, one for the value.

use std::sync::Arc;

use unwedge::Stopped;
use unwedge::model::thread;

use crate::common::{Failure, explore, fails};
use crate::naive::{Reply, spawn};
use crate::world::World;

#[test]
fn c15_stop_is_not_success() {
    explore("L5", Some(3), || {
        let world = World::new();
        let (completer, mut read) = world.owed::<u32>();
        let storage = thread::spawn(move || completer.complete(0));
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        match read.wait() {
            Ok(value) => assert_eq!(value, Ok(0)),
            Err(Stopped) => assert!(world.stop.is_requested()),
        }
        storage.join().unwrap().unwrap_or_default();
        stopper.join().unwrap();
    });
}

/// A stop that wakes with this number: what the waiter makes of it.
fn woken_with(number: i32) -> &'static str {
    let read = Arc::new(Reply::new("the read"));
    let own = read.clone();
    let stop = spawn("stop", move || own.give(number));
    let result = read.wait();
    stop.join();
    match result {
        0 => "success",
        -108 => "fencing",
        _ => "an error",
    }
}

#[test]
fn c15_twin_success() {
    fails(Failure::Panic("replay takes stop's 0 for a read that never came"), Some(2), || {
        assert_ne!(woken_with(0), "success", "replay takes stop's 0 for a read that never came");
    });
}

#[test]
fn c15_twin_fencing() {
    fails(Failure::Panic("replay takes stop's ESHUTDOWN for a blocklisting"), Some(2), || {
        assert_ne!(woken_with(-108), "fencing", "replay takes stop's ESHUTDOWN for a blocklisting");
    });
}
