//! Poisoned std locks: never a hang, never a lost notification, neither in a monitor nor taken directly.

use std::{
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
};

use unwedge::{
    Condvar, Monitor, Stop, Stopped,
    lock::{ForeignLock, Lock, LockData, Reading},
};

use crate::GUARD;

/// Panics quietly.
fn panic() -> ! {
    std::panic::resume_unwind(Box::new("with the lock held"))
}

/// A thread panics with the lock in its hand while others wait on a condition, in a `when` and for the lock; afterwards all go on.
fn monitor_goes_on<L: LockData<Data = u64> + Send + Sync>(lock: L, is_poisoned: impl Fn(&L) -> bool) {
    let stop = Stop::new("poison");
    let monitor = Monitor::new("poisoned", lock, &stop);
    let (changed, state) = (Condvar::new(), AtomicBool::new(false));
    let (waits, waiting) = mpsc::channel();
    thread::scope(|s| {
        let waiter = s.spawn({
            let (monitor, changed, state) = (&monitor, &changed, &state);
            move || {
                let mut guard = monitor.lock()?;
                waits.send(()).expect("the test waits");
                while !state.load(SeqCst) {
                    guard = guard.wait(changed)?;
                }
                Ok::<(), Stopped>(())
            }
        });
        waiting.recv_timeout(GUARD).expect("it comes to wait");
        let when = s.spawn(|| monitor.when(|n| (*n == 3).then_some(())));
        let held = monitor.lock().expect("no stop");
        let (queues, queueing) = mpsc::channel();
        let locker = s.spawn({
            let monitor = &monitor;
            move || {
                queues.send(()).expect("the test waits");
                monitor.lock().map(drop)
            }
        });
        queueing.recv_timeout(GUARD).expect("it comes to lock");
        drop(held);
        // The panic comes after the change and its notification, with the lock held: the unwinding unlocks.
        let panicked = s.spawn(|| {
            let _guard = monitor.lock();
            state.store(true, SeqCst);
            changed.notify_one();
            panic();
        });
        assert!(panicked.join().is_err());
        assert_eq!(waiter.join().expect("no panic"), Ok(()), "the notification is not lost");
        assert_eq!(locker.join().expect("no panic"), Ok(()));
        monitor
            .when(|n| {
                *n = 3;
                Some(())
            })
            .expect("no stop");
        assert_eq!(when.join().expect("no panic"), Ok(()));
        // One that waits when its lock is poisoned already, and nobody notifies: the stop.
        let forever = s.spawn(|| monitor.when(|n| (*n == 4).then_some(())));
        let held = monitor.lock().expect("no stop");
        stop.request("the test is over");
        assert_eq!(forever.join().expect("no panic"), Err(Stopped), "while the stopper holds the lock");
        drop(held);
    });
    assert!(is_poisoned(&monitor.into_lock()), "or this tested nothing");
}

#[test]
fn a_monitor_over_a_poisoned_mutex_goes_on() {
    crate::guarded(|| monitor_goes_on(Mutex::new(0), Mutex::is_poisoned));
}

#[test]
fn a_monitor_over_a_poisoned_rwlock_goes_on() {
    crate::guarded(|| monitor_goes_on(RwLock::new(0), RwLock::is_poisoned));
}

/// A `when` closure that panics lets the lock go, and the others go on.
#[test]
fn a_closure_that_panics_lets_go() {
    crate::guarded(|| {
        let stop = Stop::new("closure");
        let monitor = Monitor::new("poisoned", Mutex::new(0), &stop);
        thread::scope(|s| {
            let waiter = s.spawn(|| monitor.when(|n| (*n == 1).then_some(())));
            assert!(s.spawn(|| monitor.when::<()>(|_| panic())).join().is_err());
            monitor
                .when(|n| {
                    *n = 1;
                    Some(())
                })
                .expect("no stop");
            assert_eq!(waiter.join().expect("no panic"), Ok(()));
        });
        assert!(monitor.into_lock().is_poisoned(), "or this tested nothing");
    });
}

/// Taken directly: the notifier panics right after its notification with the lock held; both waiters come back with the lock, one after a
/// notification for each, and a third is ended by the stop.
fn condvar_goes_on<H: Lock + Sync, L: ForeignLock + Sync>(holder: &H, lock: &L) {
    let stop = Stop::new("poison");
    let (condvar, state) = (Condvar::new(), AtomicBool::new(false));
    let (waits, waiting) = mpsc::channel();
    thread::scope(|s| {
        let waiters = [(); 2].map(|()| {
            let (waits, condvar, state, stop) = (waits.clone(), &condvar, &state, &stop);
            s.spawn(move || {
                let mut guard = lock.relock(&|| false).expect("no stop");
                waits.send(()).expect("the test waits");
                while !state.load(SeqCst) {
                    guard = condvar.wait(stop, lock, guard)?;
                }
                drop(guard);
                Ok::<(), Stopped>(())
            })
        });
        for _ in 0..2 {
            waiting.recv_timeout(GUARD).expect("each comes to wait");
        }
        let panicked = s.spawn(|| {
            let mut guard = None;
            while guard.is_none() {
                guard = holder.try_lock();
            }
            state.store(true, SeqCst);
            assert!(condvar.notify_one() && condvar.notify_one(), "both are registered");
            panic();
        });
        assert!(panicked.join().is_err());
        for waiter in waiters {
            assert_eq!(waiter.join().expect("no panic"), Ok(()), "the notification is not lost");
        }
        let last = s.spawn(|| {
            let guard = lock.relock(&|| false).expect("no stop");
            waits.send(()).expect("the test waits");
            condvar.wait(&stop, lock, guard).map(drop)
        });
        waiting.recv_timeout(GUARD).expect("it comes to wait");
        stop.request("the test is over");
        assert_eq!(last.join().expect("no panic"), Err(Stopped));
    });
}

#[test]
fn a_condition_variable_over_a_poisoned_mutex_goes_on() {
    crate::guarded(|| {
        let lock = Mutex::new(());
        condvar_goes_on(&lock, &lock);
        assert!(lock.is_poisoned());
    });
}

#[test]
fn a_condition_variable_over_a_poisoned_rwlock_goes_on() {
    crate::guarded(|| {
        let lock = RwLock::new(());
        condvar_goes_on(&lock, &lock);
        assert!(lock.is_poisoned());
    });
    crate::guarded(|| {
        let lock = RwLock::new(());
        condvar_goes_on(&lock, &Reading::new(&lock));
        assert!(lock.is_poisoned());
    });
}
