//! Scenarios of others' suites of condition variables that no other test here has: see `tests/PEERS.md`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Instant;

use unwedge::lock::{ForeignLock, Lock};
use unwedge::{Condvar, Monitor, Stop, Stopped, WaitError};

use crate::GUARD;
use crate::common::guarded;
use crate::kinds::{Spin, SpinGuard};

/// Two take, by one notification each under the lock, exactly what one makes (libstdc++ 50862).
#[test]
fn two_consumers_get_what_one_producer_makes() {
    const EACH: u32 = 2_000;
    guarded(|| {
        let stop = Stop::new("life");
        let monitor = Arc::new(Monitor::new("lock", Mutex::new(0_u32), &stop));
        let made = Arc::new(Condvar::new());
        let consumers = ["first", "second"].map(|name| {
            let (monitor, made) = (monitor.clone(), made.clone());
            let consume = move || -> Result<u32, Stopped> {
                for _ in 0..EACH {
                    *monitor.lock()?.wait_while(&made, |products| *products == 0)? -= 1;
                }
                Ok(EACH)
            };
            stop.spawn(name, consume).expect("a thread")
        });
        for _ in 0..2 * EACH {
            let mut products = monitor.lock().expect("not stopped");
            *products += 1;
            made.notify_one();
        }
        let taken = consumers.map(|consumer| consumer.join().expect("no panic").expect("not stopped"));
        assert_eq!((taken, *monitor.lock().expect("not stopped")), ([EACH, EACH], 0));
    });
}

/// Producers and consumers of a queue with room for few, a condition variable for each side (parking_lot's `webkit_queue_test`): each message is taken once, and
/// nobody is left asleep, by notifications of one as by those of all.
#[test]
fn a_bounded_queue_between_many_loses_nothing() {
    const EACH: u32 = 300;
    for (producers, consumers, room, all) in
        [(1, 1, 1, true), (1, 1, 1, false), (10, 1, 1, true), (1, 10, 1, true), (10, 10, 1, true), (10, 10, 100, false)]
    {
        guarded(move || {
            let stop = Stop::new("life");
            let queue = Arc::new(Monitor::new("queue", Mutex::new((VecDeque::new(), EACH * producers)), &stop));
            let [not_empty, not_full] = [(); 2].map(|()| Arc::new(Condvar::new()));
            let notify = move |changed: &Condvar| _ = if all { changed.notify_all() > 0 } else { changed.notify_one() };
            let threads = (0..producers).map(|producer| {
                let (queue, not_empty, not_full) = (queue.clone(), not_empty.clone(), not_full.clone());
                let produce = move || -> Result<Vec<u32>, Stopped> {
                    for message in producer * EACH..(producer + 1) * EACH {
                        queue.lock()?.wait_while(&not_full, |(held, _)| held.len() == room)?.0.push_back(message);
                        notify(&not_empty);
                    }
                    Ok(Vec::new())
                };
                stop.spawn("producer", produce).expect("a thread")
            });
            let threads: Vec<_> = threads.collect();
            let takers = (0..consumers).map(|_| {
                let (queue, not_empty, not_full) = (queue.clone(), not_empty.clone(), not_full.clone());
                let consume = move || -> Result<Vec<u32>, Stopped> {
                    let mut taken = Vec::new();
                    loop {
                        let held = queue.lock()?;
                        let mut held = held.wait_while(&not_empty, |(held, left)| held.is_empty() && *left > 0)?;
                        let Some(message) = held.0.pop_front() else { return Ok(taken) };
                        held.1 -= 1;
                        let is_last = held.1 == 0;
                        drop(held);
                        taken.push(message);
                        notify(&not_full);
                        if is_last {
                            not_empty.notify_all();
                        }
                    }
                };
                stop.spawn("consumer", consume).expect("a thread")
            });
            let takers: Vec<_> = takers.collect();
            let all = threads.into_iter().chain(takers);
            let ended = all.map(|one| one.join().expect("no panic").expect("not stopped"));
            let mut taken: Vec<u32> = ended.flatten().collect();
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..EACH * producers), "each once");
        });
    }
}

/// A wait whose predicate, when it is looked at, requests the stop and is not over: whether the wait was stopped.
type StopsMeanwhile = fn(&Monitor<RwLock<u32>>, &dyn Fn()) -> bool;

fn far() -> Instant {
    Instant::now() + 100 * GUARD
}

const STOP_MEANWHILE: [StopsMeanwhile; 5] = [
    |monitor, stops| {
        let looks = |_: &mut u32| {
            stops();
            true
        };
        monitor.lock().and_then(|guard| guard.wait_while(&Condvar::new(), looks)).is_err()
    },
    |monitor, stops| {
        let looks = |_: &mut u32| {
            stops();
            true
        };
        monitor.lock().and_then(|guard| guard.wait_while_until(&Condvar::new(), far(), looks)).is_err()
    },
    |monitor, stops| {
        let looks = |_: &mut u32| {
            stops();
            None::<()>
        };
        monitor.when(looks).is_err()
    },
    |monitor, stops| {
        let looks = |_: &mut u32| {
            stops();
            None::<()>
        };
        monitor.when_until(far(), looks) == Err(WaitError::Stopped)
    },
    |monitor, stops| {
        let guard = monitor.read().expect("not stopped");
        stops();
        guard.wait(&Condvar::new()).is_err()
    },
];

/// The stop comes between the look at the predicate and the sleep (libc++ `wait_token_pred`, "potentially in-between check and wait").
#[test]
fn a_stop_that_comes_while_the_predicate_is_looked_at_ends_the_wait() {
    guarded(|| {
        for waits in STOP_MEANWHILE {
            let (stop, other) = (Stop::new("life"), Stop::new("another"));
            let monitor = Monitor::new("lock", RwLock::new(0), &stop);
            // From another thread, and over when this returns.
            let stops = || {
                thread::scope(|scope| _ = scope.spawn(|| stop.request("meanwhile")).join());
                assert!(stop.is_requested());
            };
            assert!(waits(&monitor, &stops), "stopped");
            assert!(stop.is_requested(), "the predicate was looked at");
            assert!(monitor.lock_in(&other).is_ok(), "the lock is free");
        }
    });
}

/// A lock that panics when it is taken again.
struct Panics(Spin);

impl Lock for Panics {
    type Guard<'a> = SpinGuard<'a>;
    fn try_lock(&self) -> Option<SpinGuard<'_>> {
        self.0.try_lock()
    }
}

impl ForeignLock for Panics {
    fn relock<'a>(&'a self, _: &dyn Fn() -> bool) -> Option<SpinGuard<'a>> {
        panic!("the lock cannot be taken again");
    }
}

/// Taking the lock again fails (libc++ `wait_terminates`: there it ends the process): the panic comes out of the wait, without the lock, and the notification
/// goes to the next.
#[test]
fn a_relock_that_panics_hands_the_notification_on() {
    guarded(|| {
        let stop = Stop::new("life");
        let changed = Arc::new(Condvar::new());
        let come_to_wait = |name: &str| {
            let waits = || stop.report().members().iter().any(|member| member.name == name && !member.waits.is_empty());
            while !waits() {
                thread::yield_now();
            }
        };
        let (own, domain) = (changed.clone(), stop.clone());
        let first = move || {
            let lock = Panics(Spin::default());
            let guard = lock.try_lock().expect("free");
            let waited = catch_unwind(AssertUnwindSafe(|| own.wait(&domain, &lock, guard).map(drop)));
            (waited.is_err(), lock.try_lock().is_some())
        };
        let first = stop.spawn("first", first).expect("a thread");
        come_to_wait("first");
        let (own, domain) = (changed.clone(), stop.clone());
        let second = move || {
            let lock = Spin::default();
            let guard = lock.try_lock().expect("free");
            own.wait(&domain, &lock, guard).map(drop)
        };
        let second = stop.spawn("second", second).expect("a thread");
        come_to_wait("second");
        // One, for the two of them: the first has it and cannot use it.
        assert!(changed.notify_one());
        assert_eq!(first.join().expect("its panic is its own"), (true, true));
        second.join().expect("no panic").expect("notified");
        assert!(!changed.notify_one(), "nobody is left");
    });
}
