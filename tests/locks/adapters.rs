//! `Lock`, `SharedLock`, `LockData`: one body for each property, run over every lock.

use std::{
    sync::{Mutex, RwLock},
    thread,
};

use unwedge::lock::{Lock, LockData, SharedLock};

/// Whether another thread finds the lock free.
fn free_for_another<L: Lock + Sync>(lock: &L) -> bool {
    thread::scope(|s| s.spawn(|| lock.try_lock().is_some()).join().expect("try_lock does not panic"))
}

/// Whether another thread can take the lock for reading.
fn readable_for_another<L: SharedLock + Sync>(lock: &L) -> bool {
    thread::scope(|s| s.spawn(|| lock.try_lock_shared().is_some()).join().expect("try_lock_shared does not panic"))
}

/// `try_lock` fails while another thread holds the lock, and only then.
fn exclusive<L: Lock + Sync>(lock: L) {
    for _ in 0..3 {
        let guard = lock.try_lock();
        assert!(guard.is_some(), "nobody holds it");
        assert!(!free_for_another(&lock), "held");
        assert!(!free_for_another(&lock), "still held: an attempt that failed unlocked nothing");
        drop(guard);
        assert!(free_for_another(&lock), "free again");
    }
}

/// Readers share, a writer does not.
fn shared<L: SharedLock + Sync>(lock: L) {
    let first = lock.try_lock_shared();
    assert!(first.is_some(), "nobody holds it");
    assert!(readable_for_another(&lock), "readers share");
    assert!(!free_for_another(&lock), "a reader holds it");
    drop(first);
    let writer = lock.try_lock();
    assert!(writer.is_some(), "the readers are gone");
    assert!(!readable_for_another(&lock), "a writer holds it");
    drop(writer);
    assert!(readable_for_another(&lock) && free_for_another(&lock), "free again");
}

/// The data is what the guard protects: no update is lost.
fn data<L: LockData<Data = u64> + Sync>(lock: L) {
    const EACH: u64 = 2_000;
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                let mut done = 0;
                while done < EACH {
                    match lock.try_lock() {
                        Some(mut guard) => {
                            *L::data(&mut guard) += 1;
                            done += 1;
                        }
                        None => thread::yield_now(),
                    }
                }
            });
        }
    });
    let mut guard = lock.try_lock().expect("the threads are done");
    assert_eq!(*L::data(&mut guard), 3 * EACH);
}

/// Data that is unsized, and data that holds a borrow: both are reached.
fn reaches<L: LockData + ?Sized>(lock: &L, see: impl FnOnce(&mut L::Data)) {
    let mut guard = lock.try_lock().expect("nobody holds it");
    see(L::data(&mut guard));
}

/// A module of tests for a lock: each body over a fresh one.
macro_rules! over {
    ($module:ident, $lock:expr, $($body:ident)+) => {
        mod $module {
            $(#[test] fn $body() { crate::adapters::$body($lock) })+
        }
    };
}

over!(std_mutex, std::sync::Mutex::new(0), exclusive data);
over!(std_rwlock, std::sync::RwLock::new(0), exclusive shared data);
over!(own_spin, crate::kinds::Spin::default(), exclusive);
over!(own_ticket, crate::kinds::Ticket::default(), exclusive);

#[cfg(feature = "parking_lot")]
mod with_lock_api_04 {
    over!(mutex, parking_lot::Mutex::new(0), exclusive data);
    over!(fair_mutex, parking_lot::FairMutex::new(0), exclusive data);
    over!(rwlock, parking_lot::RwLock::new(0), exclusive shared data);
    over!(reentrant_mutex, parking_lot::ReentrantMutex::new(0), exclusive);
    over!(spin_mutex, spin::lock_api::Mutex::new(0), exclusive data);
    over!(spin_rwlock, spin::lock_api::RwLock::new(0), exclusive shared data);
}

#[cfg(feature = "parking_lot_0_13")]
mod with_lock_api_05 {
    over!(mutex, parking_lot_13::Mutex::new(0), exclusive data);
    over!(fair_mutex, parking_lot_13::FairMutex::new(0), exclusive data);
    over!(rwlock, parking_lot_13::RwLock::new(0), exclusive shared data);
    over!(reentrant_mutex, parking_lot_13::ReentrantMutex::new(0), exclusive);
}

#[cfg(feature = "tokio")]
mod with_tokio {
    over!(mutex, tokio::sync::Mutex::new(0), exclusive data);
    over!(rwlock, tokio::sync::RwLock::new(0), exclusive shared data);
}

#[test]
fn data_may_be_unsized_or_hold_borrows() {
    let text = String::from("rejoin");
    reaches(&Mutex::new(text.as_str()), |data| assert_eq!(*data, "rejoin"));
    reaches(&RwLock::new(text.as_str()), |data| assert_eq!(*data, "rejoin"));
    let numbers: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    reaches(numbers, |data| data.reverse());
    assert_eq!(*numbers.lock().expect("no panic"), [3, 2, 1]);
    #[cfg(feature = "parking_lot")]
    reaches(&parking_lot::FairMutex::new(text.as_str()), |data| assert_eq!(*data, "rejoin"));
    #[cfg(feature = "parking_lot_0_13")]
    reaches(&parking_lot_13::RwLock::new(text.as_str()), |data| assert_eq!(*data, "rejoin"));
    #[cfg(feature = "tokio")]
    reaches(&tokio::sync::Mutex::new(text.as_str()), |data| assert_eq!(*data, "rejoin"));
}

/// A thread that ends in a panic with the guard in its hand.
fn panic_with<G>(take: impl FnOnce() -> G + Send) {
    let ended = thread::scope(|s| {
        s.spawn(|| {
            let _guard = take();
            std::panic::resume_unwind(Box::new("with the lock held"));
        })
        .join()
    });
    assert!(ended.is_err(), "the thread panicked");
}

/// Poison is passed over and left where it is.
#[test]
fn a_poisoned_std_lock_is_taken_all_the_same() {
    let mutex = Mutex::new(7);
    panic_with(|| mutex.lock());
    assert!(mutex.is_poisoned());
    reaches(&mutex, |data| *data += 1);
    assert!(!free_while_held(&mutex), "poisoned or not, it excludes");
    assert!(mutex.is_poisoned(), "nothing was cleared");
    assert_eq!(mutex.lock().map_or_else(|poisoned| *poisoned.into_inner(), |guard| *guard), 8);

    let rwlock = RwLock::new(7);
    panic_with(|| rwlock.write());
    assert!(rwlock.is_poisoned());
    reaches(&rwlock, |data| *data += 1);
    assert!(!free_while_held(&rwlock));
    assert_eq!(rwlock.try_lock_shared().map(|guard| *guard), Some(8));
    assert!(rwlock.is_poisoned(), "nothing was cleared");
}

fn free_while_held<L: Lock + Sync>(lock: &L) -> bool {
    let _guard = lock.try_lock().expect("nobody holds it");
    free_for_another(lock)
}

/// A reentrant mutex is taken again by the thread that has it, level by level, and is free when the last is gone.
#[cfg(feature = "parking_lot")]
#[test]
fn a_reentrant_mutex_has_levels() {
    let lock = parking_lot::ReentrantMutex::new(());
    let outer = Lock::try_lock(&lock);
    let inner = Lock::try_lock(&lock);
    assert!(outer.is_some() && inner.is_some());
    drop(inner);
    assert!(!free_for_another(&lock), "one level is left");
    drop(outer);
    assert!(free_for_another(&lock));
}
