//! Nobody starves, and nobody polls: relocks of fair locks among many who take them directly, and the CPU time of who waits.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use unwedge::lock::{ForeignLock, Lock};

use crate::{GUARD, kinds::Ticket};

/// How many contend.
const CONTENDERS: usize = 16;

/// The CPU time of the calling thread.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the call to write to, and the call keeps no pointer to it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Linux has this clock");
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    let nanoseconds = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanoseconds)
}

/// How long each holds the lock: asleep, so that a machine with few processors is as good as one with many.
const HOLD: Duration = Duration::from_millis(2);

/// Fifteen take the lock directly, over and over, each for `HOLD`, so the queue is longer than the first slice of a
/// relock and a waiter that only ever stayed that long would never reach its head: the sixteenth, which relocks, gets it all the same.
fn among_direct_users<'l, L: ForeignLock + Sync, G>(
    lock: &'l L,
    direct: impl Fn(&'l L) -> G + Sync,
) {
    let all_there = Barrier::new(CONTENDERS);
    let done = AtomicBool::new(false);
    let begin = Instant::now();
    let got = thread::scope(|s| {
        for _ in 1..CONTENDERS {
            s.spawn(|| {
                all_there.wait();
                while !done.load(SeqCst) {
                    let guard = direct(lock);
                    thread::sleep(HOLD);
                    drop(guard);
                }
            });
        }
        all_there.wait();
        let mut got = 0;
        while got < 5 && lock.relock(&|| begin.elapsed() > GUARD).is_some() {
            got += 1;
        }
        done.store(true, SeqCst);
        got
    });
    assert_eq!(got, 5, "starved");
}

/// Sixteen relock, over and over: each gets its share, and the lock is never held twice.
fn among_themselves<L: ForeignLock + Sync>(lock: &L) {
    const ROUNDS: u64 = 20;
    let inside = AtomicU64::new(0);
    let begin = Instant::now();
    thread::scope(|s| {
        for _ in 0..CONTENDERS {
            s.spawn(|| {
                for _ in 0..ROUNDS {
                    let guard = lock.relock(&|| begin.elapsed() > GUARD);
                    assert!(guard.is_some(), "starved");
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "held twice");
                    thread::sleep(HOLD);
                    inside.fetch_sub(1, SeqCst);
                }
            });
        }
    });
}

/// While the lock is held for a second, who relocks uses no CPU worth the name: under a fiftieth of what a polling one would.
fn does_not_poll<L: ForeignLock + Sync>(lock: &L) {
    let guard = lock.try_lock().expect("nobody holds it");
    let (spent, used) = mpsc::channel();
    thread::scope(|s| {
        s.spawn(move || {
            let before = cpu_time();
            let guard = lock.relock(&|| false);
            spent
                .send(cpu_time().saturating_sub(before))
                .expect("the test waits");
            assert!(guard.is_some());
        });
        thread::sleep(Duration::from_secs(1));
        drop(guard);
        let used = used.recv_timeout(GUARD).expect("it gets the lock");
        assert!(
            used < Duration::from_millis(20),
            "used {used:?} of CPU time"
        );
    });
}

/// A module of tests for a lock that is fair; `$direct` is how its other users take it.
macro_rules! over {
    ($module:ident, $lock:expr, $direct:path) => {
        mod $module {
            #[test]
            fn among_direct_users() {
                crate::fairness::among_direct_users(&$lock, $direct);
            }
            #[test]
            fn among_themselves() {
                crate::fairness::among_themselves(&$lock);
            }
            #[test]
            fn does_not_poll() {
                crate::fairness::does_not_poll(&$lock);
            }
        }
    };
}

over!(
    ticket,
    crate::kinds::Ticket::default(),
    crate::kinds::Ticket::lock
);
#[cfg(feature = "parking_lot")]
over!(
    fair_mutex_0_12,
    parking_lot::FairMutex::new(()),
    parking_lot::FairMutex::lock
);
#[cfg(feature = "parking_lot_0_13")]
over!(
    fair_mutex_0_13,
    parking_lot_13::FairMutex::new(()),
    parking_lot_13::FairMutex::lock
);
#[cfg(feature = "tokio")]
over!(
    tokio_mutex,
    tokio::sync::Mutex::new(()),
    tokio::sync::Mutex::blocking_lock
);

/// The ticket lock of these tests is what they say: it refuses `try_lock` while anyone queues, though nobody holds it for long.
#[test]
fn a_ticket_lock_refuses_try_lock_while_anyone_queues() {
    let lock = Ticket::default();
    let guard = lock.lock();
    thread::scope(|s| {
        let next = s.spawn(|| lock.lock());
        while lock.inside() < 2 {
            thread::yield_now();
        }
        assert!(lock.try_lock().is_none());
        drop(guard);
        drop(next.join().expect("no panic"));
    });
    assert!(lock.try_lock().is_some());
}
