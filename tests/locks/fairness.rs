//! Nobody starves, and nobody polls: fair locks among sixteen contenders, taken directly and in a monitor, and the CPU time of who waits.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Condvar, Monitor, Stop,
    lock::{ForeignLock, Lock},
};

use crate::{GUARD, kinds::Ticket};

/// How many contend.
const CONTENDERS: usize = 16;

/// The CPU time of the calling thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to write to, and the call keeps no pointer to it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Linux has this clock");
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    let nanoseconds = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanoseconds)
}

/// How a lock's other users take it: blocking, in its own queue.
trait Direct: ForeignLock {
    fn direct(&self) -> Self::Guard<'_>;
}
impl Direct for Ticket {
    fn direct(&self) -> Self::Guard<'_> {
        self.lock()
    }
}
#[cfg(feature = "parking_lot")]
impl Direct for parking_lot::FairMutex<()> {
    fn direct(&self) -> Self::Guard<'_> {
        self.lock()
    }
}
#[cfg(feature = "parking_lot_0_13")]
impl Direct for parking_lot_13::FairMutex<()> {
    fn direct(&self) -> Self::Guard<'_> {
        self.lock()
    }
}
#[cfg(feature = "tokio")]
impl Direct for tokio::sync::Mutex<()> {
    fn direct(&self) -> Self::Guard<'_> {
        self.blocking_lock()
    }
}

/// How long each holds the lock: asleep, so that a machine with few processors is as good as one with many.
const HOLD: Duration = Duration::from_millis(2);

/// Fifteen take the lock directly, over and over, each for `HOLD`, so the queue is longer than the first slice of a relock and a waiter that
/// only ever stayed that long would never reach its head: the sixteenth, which waits for each change of the state, gets it all the same.
fn among_direct_users<L: Direct + Sync>(lock: L) {
    let (stop, changed, done) = (Stop::new("direct"), Condvar::new(), AtomicBool::new(false));
    let all_there = Barrier::new(CONTENDERS);
    let begin = Instant::now();
    thread::scope(|s| {
        for _ in 1..CONTENDERS {
            s.spawn(|| {
                all_there.wait();
                while !done.load(SeqCst) {
                    let guard = lock.direct();
                    thread::sleep(HOLD);
                    changed.notify_one();
                    drop(guard);
                    if begin.elapsed() > GUARD {
                        stop.request("starved");
                    }
                }
            });
        }
        all_there.wait();
        let mut guard = Ok(lock.direct());
        for _ in 0..5 {
            guard = guard.and_then(|guard| changed.wait(&stop, &lock, guard));
        }
        done.store(true, SeqCst);
        assert!(guard.is_ok(), "starved");
    });
}

/// Sixteen wait for their turn in a ring, and every change wakes all of them: each relocks among fifteen others, and gets its share.
fn among_themselves<L: Direct + Sync>(lock: L) {
    const ROUNDS: usize = 10;
    let (stop, changed, turn) = (Stop::new("ring"), Condvar::new(), AtomicUsize::new(0));
    let inside = AtomicUsize::new(0);
    thread::scope(|s| {
        for me in 0..CONTENDERS {
            let (stop, changed, turn, inside, lock) = (&stop, &changed, &turn, &inside, &lock);
            s.spawn(move || {
                for round in 0..ROUNDS {
                    let mut guard = lock.direct();
                    while turn.load(SeqCst) != round * CONTENDERS + me {
                        guard = changed.wait(stop, lock, guard).expect("no stop");
                    }
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "held twice");
                    turn.fetch_add(1, SeqCst);
                    changed.notify_all();
                    inside.fetch_sub(1, SeqCst);
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(turn.into_inner(), ROUNDS * CONTENDERS);
}

/// Sixteen, half of them tasks, take a monitor over the lock until each has had it five times: nobody has to be thirsty, whatever the others
/// drink. How long the slowest waits is not asserted: a line is never closed for a task, so that one is overtaken more often than a thread.
fn in_a_monitor<L: Lock + Send + Sync>(lock: L) {
    const SHARE: usize = 5;
    let stop = Stop::new("monitor");
    let monitor = Monitor::new("contended", lock, &stop);
    let begin = Instant::now();
    let sated = AtomicUsize::new(0);
    let all_there = Barrier::new(CONTENDERS);
    // Drinks once, the `had`th time; whether to go on.
    let drink = |had: usize| {
        thread::sleep(HOLD);
        if had == SHARE {
            sated.fetch_add(1, SeqCst);
        }
        if begin.elapsed() > GUARD {
            stop.request("starved");
        }
        sated.load(SeqCst) < CONTENDERS
    };
    thread::scope(|s| {
        for me in 0..CONTENDERS {
            let (monitor, all_there, drink) = (&monitor, &all_there, &drink);
            s.spawn(move || {
                all_there.wait();
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                for had in 1.. {
                    let guard = if me % 2 == 0 { monitor.lock() } else { runtime.block_on(monitor.lock_async()) };
                    let go_on = drink(had);
                    if !go_on || guard.is_err() {
                        break;
                    }
                }
            });
        }
    });
    assert_eq!(sated.into_inner(), CONTENDERS, "starved");
    assert!(!stop.is_requested(), "starved");
}

/// Runs `wait` on a thread, and `held` here, which holds a lock for a second meanwhile; the thread may not use CPU time worth the name: a
/// fiftieth of what a spinning one would.
fn idle(wait: impl FnOnce() + Send, held: impl FnOnce(Duration)) {
    let (spent, used) = mpsc::channel();
    thread::scope(|s| {
        s.spawn(move || {
            let before = cpu_time();
            wait();
            spent.send(cpu_time().saturating_sub(before)).expect("the test waits");
        });
        held(Duration::from_secs(1));
        let used = used.recv_timeout(GUARD).expect("it gets the lock");
        assert!(used < Duration::from_millis(20), "used {used:?} of CPU time");
    });
}

/// Notified, and then the lock is held for a second: who relocks sleeps.
fn does_not_poll<L: Direct + Sync>(lock: L) {
    let (stop, changed, state) = (Stop::new("idle"), Condvar::new(), AtomicBool::new(false));
    let (waits, waiting) = mpsc::channel();
    idle(
        || {
            let mut guard = lock.direct();
            waits.send(()).expect("the test waits");
            while !state.load(SeqCst) {
                guard = changed.wait(&stop, &lock, guard).expect("no stop");
            }
        },
        |second| {
            waiting.recv_timeout(GUARD).expect("it comes to wait");
            let guard = lock.direct();
            state.store(true, SeqCst);
            assert!(changed.notify_one(), "it is registered");
            thread::sleep(second);
            drop(guard);
        },
    );
}

/// A monitor's lock is held for a second: who queues for it sleeps, and so does who was notified.
fn does_not_poll_in_a_monitor<L: Lock + Send + Sync>(lock: L) {
    let stop = Stop::new("idle");
    let monitor = Monitor::new("held", lock, &stop);
    let (changed, state) = (Condvar::new(), AtomicBool::new(false));
    let held = monitor.lock().expect("no stop");
    idle(
        || drop(monitor.lock().expect("no stop")),
        |second| {
            thread::sleep(second);
            drop(held);
        },
    );
    let (waits, waiting) = mpsc::channel();
    idle(
        || {
            let mut guard = monitor.lock().expect("no stop");
            waits.send(()).expect("the test waits");
            while !state.load(SeqCst) {
                guard = guard.wait(&changed).expect("no stop");
            }
        },
        |second| {
            waiting.recv_timeout(GUARD).expect("it comes to wait");
            let guard = monitor.lock().expect("no stop");
            state.store(true, SeqCst);
            assert!(changed.notify_one(), "it is registered");
            thread::sleep(second);
            drop(guard);
        },
    );
}

/// A module of tests for a fair lock.
macro_rules! over {
    ($module:ident, $lock:expr) => {
        mod $module {
            #[test]
            fn among_direct_users() {
                crate::guarded(|| crate::fairness::among_direct_users($lock));
            }
            #[test]
            fn among_themselves() {
                crate::guarded(|| crate::fairness::among_themselves($lock));
            }
            #[test]
            fn in_a_monitor() {
                crate::guarded(|| crate::fairness::in_a_monitor($lock));
            }
            #[test]
            fn does_not_poll() {
                crate::guarded(|| crate::fairness::does_not_poll($lock));
            }
            #[test]
            fn does_not_poll_in_a_monitor() {
                crate::guarded(|| crate::fairness::does_not_poll_in_a_monitor($lock));
            }
        }
    };
}

over!(ticket, crate::kinds::Ticket::default());
#[cfg(feature = "parking_lot")]
over!(fair_mutex_0_12, parking_lot::FairMutex::new(()));
#[cfg(feature = "parking_lot_0_13")]
over!(fair_mutex_0_13, parking_lot_13::FairMutex::new(()));
#[cfg(feature = "tokio")]
over!(tokio_mutex, tokio::sync::Mutex::new(()));

/// Where a thread that comes late and one that runs ahead of it meet, twice before each try of the late one and once after it: between the first two the other
/// one has its own.
struct Meeting {
    held: AtomicBool,
    is_open: AtomicBool,
    both: Barrier,
}
/// A lock of which each try of the thread that is called `LATE` takes as long as the other one likes.
struct Late(Arc<Meeting>);
struct LateGuard<'a>(&'a Meeting);

const LATE: &str = "late";

impl Lock for Late {
    type Guard<'a> = LateGuard<'a>;
    fn try_lock(&self) -> Option<LateGuard<'_>> {
        let meets = thread::current().name() == Some(LATE) && !self.0.is_open.load(SeqCst);
        let meet = |times| (0..times).filter(|_| meets).for_each(|_| _ = self.0.both.wait());
        meet(2);
        let had = !self.0.held.swap(true, SeqCst);
        meet(1);
        had.then(|| LateGuard(&self.0))
    }
}
impl Drop for LateGuard<'_> {
    fn drop(&mut self) {
        self.0.held.store(false, SeqCst);
    }
}

/// Who comes too late for its turn again and again closes the line: then nobody runs ahead any more, though the lock is free, until it has had it. Not
/// the first time: a line that is closed makes the lock slow.
#[test]
fn who_is_overtaken_twice_closes_the_line() {
    crate::guarded(|| {
        let stop = Stop::new("overtaken");
        let meeting =
            Arc::new(Meeting { held: AtomicBool::new(false), is_open: AtomicBool::new(true), both: Barrier::new(2) });
        let monitor = Arc::new(Monitor::new("overtaken", Late(meeting.clone()), &stop));
        let mut held = monitor.lock().expect("no stop");
        let own = monitor.clone();
        let late = stop.spawn(LATE, move || own.lock().is_ok()).expect("a thread");
        while stop.report().members().iter().all(|member| member.waits.is_empty()) {
            thread::yield_now();
        }
        meeting.is_open.store(false, SeqCst);
        let mut overtaken = 0;
        loop {
            drop(held);
            // It has its turn, or looks once more because it was queued again; and somebody else is faster.
            meeting.both.wait();
            let Some(again) = monitor.try_lock().expect("no stop") else { break };
            held = again;
            meeting.both.wait();
            meeting.both.wait();
            overtaken += 1;
            assert!(overtaken < 20, "the line is never closed");
        }
        assert!(!meeting.held.load(SeqCst), "it is closed, and free");
        // For each turn it tries twice: when it comes, and when it is queued again.
        assert!(overtaken >= 3, "closed after {overtaken} tries");
        meeting.is_open.store(true, SeqCst);
        meeting.both.wait();
        meeting.both.wait();
        assert_eq!(late.join().ok(), Some(true));
        assert!(monitor.try_lock().expect("no stop").is_some(), "it is open again");
    });
}

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
