//! `ForeignLock`: until a deadline, and the relock after a notification, in each of its three policies.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use unwedge::lock::{ForeignLock, Lock, Relock};

use crate::{
    GUARD,
    kinds::{Recorded, Ticket},
};

/// Runs `test` while another thread holds the lock; `test` gets a function that makes that thread let go (without waiting for it).
fn while_held<L: Lock + Sync, R>(holder: &L, test: impl FnOnce(&dyn Fn()) -> R) -> R {
    let (release, released) = mpsc::channel::<()>();
    let (held, is_held) = mpsc::channel::<()>();
    thread::scope(|s| {
        s.spawn(move || {
            let guard = holder.try_lock().expect("nobody holds it yet");
            held.send(()).expect("the test waits");
            released.recv().ok(); // an error: the test is over
            drop(guard);
        });
        is_held.recv().expect("the holder has it");
        let result = test(&|| release.send(()).expect("the holder waits"));
        drop(release);
        result
    })
}

/// Held: not before the deadline. Freed meanwhile, or free: at once. `holder` and `lock` are the same lock (in two modes, perhaps).
fn until<H: Lock + Sync, L: ForeignLock>(holder: &H, lock: &L) {
    assert_ne!(L::RELOCK, Relock::Plain);
    while_held(holder, |release| {
        let until = Instant::now() + Duration::from_millis(20);
        assert!(lock.lock_until(until).is_none(), "held");
        assert!(Instant::now() >= until, "gave up before the deadline");
        assert!(lock.lock_until(Instant::now()).is_none(), "the deadline has passed already");
        release();
        assert!(lock.lock_until(Instant::now() + GUARD).is_some(), "freed while it waits");
    });
    assert!(lock.lock_until(Instant::now() + GUARD).is_some(), "free");
    assert!(lock.try_lock().is_some(), "and free again");
}

/// A relock takes a free lock, waits for a held one, and gives up, unlocked, once a stop has come.
fn again<H: Lock + Sync, L: ForeignLock>(holder: &H, lock: &L) {
    let stopped = AtomicBool::new(false);
    assert!(lock.relock(&|| false).is_some(), "free");
    while_held(holder, |release| {
        let looks = AtomicUsize::new(0);
        // Releases at the third look: the relock is waiting by then, whatever the policy but plain, which looks twice at most.
        let limit = if L::RELOCK == Relock::Plain { 1 } else { 2 };
        let guard = lock.relock(&|| {
            if looks.fetch_add(1, SeqCst) == limit {
                release();
            }
            false
        });
        assert!(guard.is_some(), "freed while it waits");
    });
    if L::RELOCK != Relock::Plain {
        while_held(holder, |_| {
            // The stop comes while it waits, and the holder never lets go.
            let looks = AtomicUsize::new(0);
            let guard = lock.relock(&|| looks.fetch_add(1, SeqCst) >= 2);
            assert!(guard.is_none(), "stopped");
        });
        while_held(holder, |_| {
            // A stop that came first does not even touch the lock.
            stopped.store(true, SeqCst);
            assert!(lock.relock(&|| stopped.load(SeqCst)).is_none(), "stopped");
        });
    }
    assert!(lock.relock(&|| true).is_none(), "stopped, though it is free");
    // A stop that comes together with the lock: no guard is left behind.
    let looks = AtomicUsize::new(0);
    assert!(lock.relock(&|| looks.fetch_add(1, SeqCst) > 0).is_none(), "stopped with the lock in hand");
    assert!(lock.try_lock().is_some(), "nobody holds it");
}

/// A module of tests for a lock, as it is or in a wrapper, with the policy that it must have.
macro_rules! over {
    ($module:ident, $lock:expr, $policy:ident $(, $wrap:path)?) => {
        mod $module {
            #[test]
            fn until() {
                let lock = $lock;
                crate::relock::until(&lock, $(&$wrap)?(&lock));
            }
            #[test]
            fn again() {
                let lock = $lock;
                crate::relock::again(&lock, $(&$wrap)?(&lock));
                crate::relock::has_policy($(&$wrap)?(&lock), unwedge::lock::Relock::$policy);
            }
        }
    };
}

fn has_policy<L: ForeignLock>(_: &L, policy: Relock) {
    assert_eq!(L::RELOCK, policy);
}

over!(std_mutex, std::sync::Mutex::new(()), Backoff);
over!(std_rwlock_writer, std::sync::RwLock::new(()), Backoff);
over!(std_rwlock_reader, std::sync::RwLock::new(()), Backoff, unwedge::lock::Reading::new);
over!(own_spin, crate::kinds::Spin::default(), Backoff);
over!(own_spin_wrapped, crate::kinds::Spin::default(), Backoff, unwedge::lock::Backoff::new);
over!(own_timed, crate::kinds::Recorded::default(), Timed);

#[cfg(feature = "parking_lot")]
mod with_lock_api_04 {
    use std::time::Instant;

    use unwedge::lock::{Backoff, ForeignLock, Reading};

    use super::{again, until};

    over!(mutex, parking_lot::Mutex::new(()), Timed);
    over!(fair_mutex, parking_lot::FairMutex::new(()), Timed);
    over!(reentrant_mutex, parking_lot::ReentrantMutex::new(()), Timed);
    over!(rwlock_writer, parking_lot::RwLock::new(()), Timed);
    over!(rwlock_reader, parking_lot::RwLock::new(()), Timed, unwedge::lock::Reading::new);
    over!(spin_mutex, spin::lock_api::Mutex::new(()), Backoff, unwedge::lock::Backoff::new);
    over!(spin_rwlock, spin::lock_api::RwLock::new(()), Backoff, unwedge::lock::Backoff::new);

    /// The two wrappers compose: the reader's mode of a lock that is no `ForeignLock` at all.
    #[test]
    fn a_reader_by_back_off() {
        let lock = spin::lock_api::RwLock::new(());
        let reading = Reading::new(&lock);
        until(&lock, &Backoff::new(&reading));
        again(&lock, &Backoff::new(&reading));
        let first = Backoff::new(&reading).lock_until(Instant::now());
        let second = Backoff::new(&reading).lock_until(Instant::now());
        assert!(first.is_some() && second.is_some(), "readers share");
    }
}

#[cfg(feature = "parking_lot_0_13")]
mod with_lock_api_05 {
    over!(mutex, parking_lot_13::Mutex::new(()), Timed);
    over!(fair_mutex, parking_lot_13::FairMutex::new(()), Timed);
    over!(reentrant_mutex, parking_lot_13::ReentrantMutex::new(()), Timed);
    over!(rwlock_writer, parking_lot_13::RwLock::new(()), Timed);
    over!(rwlock_reader, parking_lot_13::RwLock::new(()), Timed, unwedge::lock::Reading::new);
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use std::{
        sync::{
            atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
            mpsc,
        },
        thread,
        time::Instant,
    };

    use tokio::task::coop;
    use unwedge::lock::{ForeignLock, Relock};

    use super::while_held;
    use crate::GUARD;

    over!(mutex, tokio::sync::Mutex::new(()), Timed);
    over!(rwlock_writer, tokio::sync::RwLock::new(()), Timed);
    over!(rwlock_reader, tokio::sync::RwLock::new(()), Timed, unwedge::lock::Reading::new);

    /// On a runtime's own thread: no panic, and the lock arrives also where the task's budget is used up.
    #[test]
    fn inside_a_task_without_budget() {
        for flavor in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()] {
            let mut flavor = flavor;
            let runtime = flavor.worker_threads(1).build().expect("a runtime");
            let lock = tokio::sync::Mutex::new(());
            runtime.block_on(std::future::poll_fn(|context| {
                while coop::has_budget_remaining() {
                    let mut one = std::pin::pin!(coop::consume_budget());
                    assert!(one.as_mut().poll(context).is_ready());
                }
                while_held(&lock, |release| {
                    release();
                    assert!(lock.lock_until(Instant::now() + GUARD).is_some(), "with no budget left");
                });
                while_held(&lock, |release| {
                    release();
                    assert!(lock.relock(&|| false).is_some(), "with no budget left");
                });
                std::task::Poll::Ready(())
            }));
        }
    }

    /// A relock keeps its place: who came to the queue after it gets the lock after it, however many looks it took.
    #[test]
    fn a_relock_keeps_its_place() {
        let lock = tokio::sync::Mutex::new(Vec::new());
        let gone = AtomicBool::new(false);
        while_held(&lock, |release| {
            let (queued, is_queued) = mpsc::channel::<()>();
            thread::scope(|s| {
                s.spawn(|| {
                    let looks = AtomicUsize::new(0);
                    let mut guard = lock
                        .relock(&|| {
                            // From the second look on it is in the queue.
                            if looks.fetch_add(1, SeqCst) == 2 {
                                queued.send(()).expect("the test waits");
                            }
                            false
                        })
                        .expect("never stopped");
                    assert!(looks.load(SeqCst) > 2);
                    guard.push("relock");
                });
                is_queued.recv().expect("the relock queues");
                s.spawn(|| {
                    lock.blocking_lock().push("later");
                    gone.store(true, SeqCst);
                });
                // The later one needs a moment to queue; a look or two of the relock pass meanwhile. Should it come too late, the order
                // is right all the more.
                thread::sleep(3 * Relock::SLICE);
                release();
            });
        });
        assert!(gone.load(SeqCst));
        assert_eq!(*lock.blocking_lock(), ["relock", "later"]);
    }
}

/// A plain lock blocks in its own queue; a stop that comes meanwhile is answered when it has the lock, which it lets go.
#[test]
fn a_plain_lock_releases_what_comes_too_late() {
    let lock = Ticket::default();
    again(&lock, &lock);
    let stopped = AtomicBool::new(false);
    while_held(&lock, |release| {
        thread::scope(|s| {
            let relock = s.spawn(|| lock.relock(&|| stopped.load(SeqCst)).is_some());
            while lock.inside() < 2 {
                thread::yield_now(); // until it queues
            }
            stopped.store(true, SeqCst);
            assert!(!relock.is_finished(), "it stands in the queue of a lock that is held");
            release();
            assert!(!relock.join().expect("no panic"), "stopped, so no guard");
        });
    });
    assert_eq!(lock.inside(), 0, "nobody holds it");
}

/// The stays of a timed relock in the lock's queue grow, from `SLICE` to `MAX_SLICE`.
#[test]
fn a_timed_relock_stays_longer_each_time() {
    let lock = Recorded::default();
    let begun = Instant::now();
    while_held(&lock, |_| {
        let looks = AtomicUsize::new(0);
        assert!(lock.relock(&|| looks.fetch_add(1, SeqCst) > 7).is_none());
    });
    let stays = lock.stays.into_inner().expect("no panic");
    let most = [10, 20, 40, 80, 160, 320, 320].map(Duration::from_millis);
    assert_eq!(stays.len(), most.len());
    for (stay, most) in stays.iter().zip(most) {
        assert!(*stay <= most, "{stay:?} of {most:?}");
    }
    // No stay ends before its slice, so together they cannot have been shorter.
    assert!(begun.elapsed() >= most.iter().sum());
    assert_eq!((Relock::SLICE, Relock::MAX_SLICE), (most[0], most[6]));
}
