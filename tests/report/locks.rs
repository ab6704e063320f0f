//! What a report says of a lock: who holds it, how many read, and for how long at least.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use unwedge::report::{HeldBy, LockReport};
use unwedge::{Condvar, Monitor, Stop};

use crate::common::guarded;
use crate::seen::{until, until_waits};
use crate::{OLDER, end};

type Shared = Arc<Monitor<parking_lot::RwLock<u32>>>;

fn seen(stop: &Stop) -> Option<LockReport> {
    stop.report().locks().iter().find(|lock| lock.name == "m").cloned()
}

/// A thread that wants the lock, and waits for it.
fn locker(stop: &Stop, name: &str, monitor: &Shared) {
    let own = monitor.clone();
    stop.spawn(name, move || own.lock().map(drop)).expect("a thread");
    until_waits(stop, name, "lock m");
}

/// A thread that takes the lock, and has it until what is returned is dropped.
fn holder(stop: &Stop, name: &str, monitor: &Shared) -> mpsc::Sender<()> {
    let (go, gone) = mpsc::channel();
    let own = monitor.clone();
    let holds = move || {
        let held = own.lock();
        gone.recv().ok();
        drop(held);
    };
    stop.spawn(name, holds).expect("a thread");
    go
}

/// Looks until this one has the lock.
fn until_held_by(stop: &Stop, name: &str) -> LockReport {
    until(&format!("{name} has it"), || {
        seen(stop).is_some_and(|lock| matches!(&lock.held_by, HeldBy::Member(by) if by.name == name))
    });
    seen(stop).expect("it is held")
}

#[test]
fn it_is_held_since_the_first_has_queued_and_each_hold_begins_anew() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let monitor = Arc::new(Monitor::new("m", parking_lot::RwLock::new(0), &stop));
        for _ in 0..2 {
            let first = holder(&stop, "first", &monitor);
            // It is held, and nobody has looked at a clock for it: of what came before nothing is left.
            assert_eq!(until_held_by(&stop, "first").held_for, None);
            let second = holder(&stop, "second", &monitor);
            until_waits(&stop, "second", "lock m");
            thread::sleep(OLDER);
            // It comes later, and the hold is no younger for that. (To a few milliseconds.)
            assert!(monitor.lock_until(Instant::now() + OLDER).is_err());
            let lock = until_held_by(&stop, "first");
            assert!(lock.held_for.is_some_and(|held_for| held_for >= OLDER + OLDER / 2), "{lock:?}");
            assert_eq!(lock.queue, 1);
            drop(first);
            // It had queued, and nobody has behind it.
            assert_eq!(until_held_by(&stop, "second").held_for, None);
            drop(second);
            until("all have ended", || stop.report().members().is_empty());
        }
        end(&stop);
    });
}

#[test]
fn readers_are_counted() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let monitor = Arc::new(Monitor::new("m", parking_lot::RwLock::new(0), &stop));
        let mut readers = vec![monitor.read(), monitor.read()];
        locker(&stop, "writer", &monitor);
        for count in [2, 1] {
            let lock = seen(&stop).expect("it is waited for");
            assert_eq!((&lock.held_by, lock.held_for, lock.queue), (&HeldBy::Readers(count), None, 1));
            drop(readers.pop());
        }
        until("the writer has ended", || stop.report().members().is_empty());
        end(&stop);
    });
}

#[test]
fn who_was_notified_is_in_the_queue() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let monitor = Arc::new(Monitor::new("m", parking_lot::RwLock::new(0), &stop));
        let changed = Arc::new(Condvar::new());
        let (own, its_changed) = (monitor.clone(), changed.clone());
        stop.spawn("waiter", move || own.lock()?.wait(&its_changed).map(drop)).expect("a thread");
        until_waits(&stop, "waiter", "a condition variable of m");
        let held = monitor.lock().expect("free");
        assert_eq!(seen(&stop).map(|lock| lock.queue), Some(0));
        assert!(changed.notify_one());
        assert_eq!(seen(&stop).map(|lock| lock.queue), Some(1));
        drop(held);
        until("the waiter has ended", || stop.report().members().is_empty());
        end(&stop);
    });
}
