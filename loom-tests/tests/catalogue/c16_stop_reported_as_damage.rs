//! 16: PR 25877. A stop while a table is opened gives its reader an error, and the rank is marked damaged.
//!
//! Cause: as in 15: a stop told as an error of the storage. Cure: the first `?` leaves with `Stopped` before anybody asks what the storage said.

use std::sync::Arc;

use unwedge::{Stopped, model};

use crate::common::{Failure, explore, fails};
use crate::naive::{Mutex, Reply, spawn};
use crate::world::{World, plan};

/// The table's state.
const DAMAGED: u32 = 99;

#[test]
fn c16_stop_is_no_damage() {
    explore("L5", Some(2), || {
        let world = World::new();
        let (completer, mut table) = world.owed::<u32>();
        let inner = world.clone();
        let boot = world.stop.spawn("boot", move || {
            let (mut state, read) = inner.lock.lock()?.wait_for(&mut table)?;
            *state = read.unwrap_or(DAMAGED);
            Ok::<(), Stopped>(())
        });
        let storage = world.thread(move |_| completer.complete(1));
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        let _unwanted = storage.join().unwrap();
        drop(boot);
        let next = unwedge::Stop::new("next");
        assert!(*world.lock.lock_in(&next).unwrap() <= 1, "a stop was reported as damage");
    });
}

#[test]
fn c16_twin() {
    fails(Failure::Panic("boot reports stop's error as a damaged table"), Some(2), || {
        let rank = Arc::new(Mutex::new("mds_lock", 0));
        let table = Arc::new(Reply::new("the table"));
        let (lock, read) = (rank.clone(), table.clone());
        let boot = spawn("boot", move || {
            let result: i32 = read.wait();
            *lock.lock() = if result < 0 { DAMAGED } else { 1 };
        });
        table.give(-108); // the stop
        boot.join();
        assert_ne!(*rank.lock(), DAMAGED, "boot reports stop's error as a damaged table");
    });
}

/// That damage is still found: the storage's own error reaches the reader, and is told from the stop.
#[test]
fn c16_damage_is_damage() {
    explore("L5", Some(3), || {
        let world = World::new();
        let (completer, mut table) = unwedge::Completion::<u32, unwedge::Abandoned>::new("table", &world.stop);
        let storage = model::thread::spawn(move || drop(completer));
        assert_eq!(table.wait(), Ok(Err(unwedge::Abandoned)));
        storage.join().unwrap();
    });
}
