//! Every lock under a condition variable with the lock taken directly: `Condvar::wait(&stop, &lock, guard)`.
//!
//! `holder` is the lock in the mode in which the state may be changed, `lock` the one in which is waited: the same, or the reader's.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Condvar, Stop, Stopped,
    lock::{ForeignLock, Lock, Relock},
};

use crate::GUARD;

/// Takes a lock, whatever it has to offer.
fn take<L: Lock>(lock: &L) -> L::Guard<'_> {
    loop {
        match lock.try_lock() {
            Some(guard) => return guard,
            None => thread::yield_now(),
        }
    }
}

/// A thread that waits with `lock` until the state is not 0; says so on `waits` while it has the lock, for the last time before it waits.
fn waiter<L: ForeignLock>(
    (stop, condvar, lock, state): (&Stop, &Condvar, &L, &AtomicU64),
    waits: mpsc::Sender<()>,
) -> Result<u64, Stopped> {
    let mut guard = take(lock);
    waits.send(()).expect("the test waits");
    while state.load(SeqCst) == 0 {
        guard = condvar.wait(stop, lock, guard)?;
    }
    let seen = state.load(SeqCst);
    drop(guard);
    Ok(seen)
}

/// Notified one by one, and all at once.
fn notifies<H: Lock + Sync, L: ForeignLock + Sync>(holder: &H, lock: &L) {
    for all in [false, true] {
        let stop = Stop::new("notifies");
        let (condvar, state) = (Condvar::new(), AtomicU64::new(0));
        let given = (&stop, &condvar, lock, &state);
        let (waits, waiting) = mpsc::channel();
        thread::scope(|s| {
            let waiters = [(); 3].map(|()| {
                let waits = waits.clone();
                s.spawn(move || waiter(given, waits))
            });
            for _ in 0..3 {
                waiting.recv_timeout(GUARD).expect("each comes to wait");
            }
            let guard = take(holder); // so all have let it go: they are registered
            state.store(5, SeqCst);
            if all {
                assert_eq!(condvar.notify_all(), 3);
            } else {
                assert!([(); 3].iter().all(|()| condvar.notify_one()), "one each");
            }
            assert!(!condvar.notify_one(), "nobody is left");
            drop(guard);
            for waiter in waiters {
                assert_eq!(waiter.join().expect("no panic"), Ok(5));
            }
        });
        drop(take(holder));
    }
}

/// The stopper holds the lock until the waiters have ended: they never touch it again.
fn stops<H: Lock + Sync, L: ForeignLock + Sync>(holder: &H, lock: &L) {
    let stop = Stop::new("stops");
    let (condvar, state) = (Condvar::new(), AtomicU64::new(0));
    let given = (&stop, &condvar, lock, &state);
    let (waits, waiting) = mpsc::channel();
    thread::scope(|s| {
        let waiters = [(); 2].map(|()| {
            let waits = waits.clone();
            s.spawn(move || waiter(given, waits))
        });
        for _ in 0..2 {
            waiting.recv_timeout(GUARD).expect("each comes to wait");
        }
        let guard = take(holder);
        stop.request("the test is over");
        for waiter in waiters {
            assert_eq!(waiter.join().expect("no panic"), Err(Stopped), "while the stopper holds the lock");
        }
        drop(guard);
    });
    let guard = take(lock);
    assert_eq!(condvar.wait(&stop, lock, guard).map(drop), Err(Stopped), "a wait that begins after the stop");
    drop(take(holder));
}

/// A waiter that was notified is stopped while it waits for the lock: it ends (a plain lock: when the lock is free), and its notification
/// goes on to the next, who belongs to another domain.
fn passes_on<H: Lock + Sync, L: ForeignLock + Sync>(holder: &H, lock: &L) {
    let (first, second) = (Stop::new("first"), Stop::new("second"));
    let (condvar, state) = (Condvar::new(), AtomicU64::new(0));
    let (waits, waiting) = mpsc::channel();
    thread::scope(|s| {
        let waiters = [&first, &second].map(|stop| {
            let (waits, given) = (waits.clone(), (stop, &condvar, lock, &state));
            let waiter = s.spawn(move || waiter(given, waits));
            waiting.recv_timeout(GUARD).expect("it comes to wait");
            drop(take(holder)); // it has let go, so it is registered: the first is first in line
            waiter
        });
        let [stopped, other] = waiters;
        let guard = take(holder);
        state.store(9, SeqCst);
        assert!(condvar.notify_one(), "to the first");
        first.request("the test wants it");
        if L::RELOCK == Relock::Plain {
            drop(guard);
            assert_eq!(stopped.join().expect("no panic"), Err(Stopped));
        } else {
            assert_eq!(stopped.join().expect("no panic"), Err(Stopped), "while the lock is held");
            drop(guard);
        }
        assert_eq!(other.join().expect("no panic"), Ok(9), "nobody notified again");
    });
    assert!(!condvar.notify_one(), "nobody is left");
    drop(take(holder));
}

/// A timeout gives the lock back, and says so; a notification before it does not.
fn times_out<H: Lock + Sync, L: ForeignLock + Sync>(holder: &H, lock: &L) {
    let stop = Stop::new("times_out");
    let (condvar, state) = (Condvar::new(), AtomicU64::new(0));
    let until = Instant::now() + Duration::from_millis(20);
    let mut guard = take(lock);
    loop {
        let back = condvar.wait_until(&stop, lock, guard, until).expect("no stop");
        guard = back.guard;
        if back.timed_out {
            break;
        }
    }
    assert!(Instant::now() >= until);
    assert!(thread::scope(|s| s.spawn(|| holder.try_lock().is_none()).join().expect("no panic")), "it is held again");
    assert!(!condvar.notify_one(), "it waits no more");
    thread::scope(|s| {
        s.spawn(|| {
            let _guard = take(holder);
            state.store(1, SeqCst);
            condvar.notify_all();
        });
        let mut timed_out = false;
        while state.load(SeqCst) == 0 && !timed_out {
            let back = condvar.wait_until(&stop, lock, guard, Instant::now() + GUARD).expect("no stop");
            (guard, timed_out) = (back.guard, back.timed_out);
        }
        assert!(!timed_out, "notified long before");
        drop(guard);
    });
}

/// A module of tests for a lock, as it is or in a wrapper.
macro_rules! over {
    ($module:ident, $lock:expr $(, $wrap:path)?) => {
        mod $module {
            over!(@each $lock, ($(&$wrap)?), notifies stops passes_on times_out);
        }
    };
    (@each $lock:expr, $wrap:tt, $($body:ident)*) => {
        $(over!(@one $lock, $wrap, $body);)*
    };
    (@one $lock:expr, ($($wrap:tt)*), $body:ident) => {
        #[test]
        fn $body() {
            crate::guarded(|| {
                let lock = $lock;
                crate::condvar::$body(&lock, $($wrap)*(&lock));
            });
        }
    };
}

over!(std_mutex, std::sync::Mutex::new(()));
over!(std_rwlock_writer, std::sync::RwLock::new(()));
over!(std_rwlock_reader, std::sync::RwLock::new(()), unwedge::lock::Reading::new);
over!(own_spin, crate::kinds::Spin::default());
over!(own_ticket, crate::kinds::Ticket::default());
over!(own_timed, crate::kinds::Recorded::default());

#[cfg(feature = "parking_lot")]
mod with_lock_api_04 {
    over!(mutex, parking_lot::Mutex::new(()));
    over!(fair_mutex, parking_lot::FairMutex::new(()));
    over!(reentrant_mutex, parking_lot::ReentrantMutex::new(()));
    over!(rwlock_writer, parking_lot::RwLock::new(()));
    over!(rwlock_reader, parking_lot::RwLock::new(()), unwedge::lock::Reading::new);
    over!(spin_mutex, spin::lock_api::Mutex::new(()), unwedge::lock::Backoff::new);
    over!(spin_rwlock, spin::lock_api::RwLock::new(()), unwedge::lock::Backoff::new);
}

#[cfg(feature = "parking_lot_0_13")]
mod with_lock_api_05 {
    over!(mutex, parking_lot_13::Mutex::new(()));
    over!(fair_mutex, parking_lot_13::FairMutex::new(()));
    over!(reentrant_mutex, parking_lot_13::ReentrantMutex::new(()));
    over!(rwlock_writer, parking_lot_13::RwLock::new(()));
    over!(rwlock_reader, parking_lot_13::RwLock::new(()), unwedge::lock::Reading::new);
}

#[cfg(feature = "tokio")]
mod with_tokio {
    over!(mutex, tokio::sync::Mutex::new(()));
    over!(rwlock_writer, tokio::sync::RwLock::new(()));
    over!(rwlock_reader, tokio::sync::RwLock::new(()), unwedge::lock::Reading::new);
}

/// The wrappers are made where they are needed: a guard of the lock itself goes in and comes out, and outlives the wrapper.
#[test]
fn a_wrapper_is_a_temporary() {
    crate::guarded(|| {
        let stop = Stop::new("temporary");
        let condvar = Condvar::new();
        let lock = std::sync::RwLock::new(3);
        let soon = Instant::now() + Duration::from_millis(1);
        let guard = lock.read().expect("no panic");
        let reading = unwedge::lock::Reading::new(&lock);
        let guard = condvar.wait_until(&stop, &reading, guard, soon).expect("no stop").guard;
        assert_eq!(*guard, 3);
    });
}

/// A reentrant mutex of which the thread holds another level stays locked through the wait, as its docs say; the stop ends the wait.
#[cfg(feature = "parking_lot")]
#[test]
fn a_wait_releases_one_level_of_a_reentrant_mutex() {
    crate::guarded(|| {
        let stop = Stop::new("levels");
        let condvar = Condvar::new();
        let lock = parking_lot::ReentrantMutex::new(());
        let (waits, waiting) = mpsc::channel();
        thread::scope(|s| {
            let waiter = s.spawn(|| {
                let _outer = lock.lock();
                let inner = lock.lock();
                waits.send(()).expect("the test waits");
                condvar.wait(&stop, &lock, inner).map(drop)
            });
            waiting.recv_timeout(GUARD).expect("it comes to wait");
            assert!(lock.try_lock_for(Duration::from_millis(20)).is_none(), "the outer level is held");
            stop.request("nobody else can");
            assert_eq!(waiter.join().expect("no panic"), Err(Stopped));
        });
    });
}
