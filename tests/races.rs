//! A stress of the primitive over plain data, for ThreadSanitizer (`ci/tsan.sh`) and, shorter, for every `cargo test`.
//!
//! What crosses from one thread to the other here is not atomic: only the primitive orders it. A race detector sees each place where it does
//! not; without one, the sums at the end would differ. The lock is this file's own, of which the detector sees every step. It has no test
//! harness, because the harness's own channels are not instrumented and would be reported.

use std::{
    cell::UnsafeCell,
    env,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    time::Duration,
};

use unwedge::{
    Completion, Condvar, Monitor, Plan, Stop, Stopped,
    lock::{Lock, LockData},
};

fn main() {
    let rounds = env::var("UNWEDGE_RACES_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2_000);
    for (name, race) in [
        ("the monitor orders its sections", sections as fn(u64)),
        ("a notification orders both sides", ping_pong),
        ("a completion hands its value over", handed_over),
        ("a shutdown comes after all that its threads did", lives),
        ("a thread that is new here joins one that has ended", strangers),
    ] {
        race(rounds);
        println!("races: {name}: ok, {rounds} rounds");
    }
}

/// A lock over plain data.
struct Spin<T> {
    held: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: the flag lets one guard at a time reach the data, so that it moves between threads and is never shared.
unsafe impl<T: Send> Sync for Spin<T> {}

struct SpinGuard<'a, T>(&'a Spin<T>);

impl<T> Spin<T> {
    fn new(data: T) -> Self {
        Spin { held: AtomicBool::new(false), data: UnsafeCell::new(data) }
    }
}

impl<T> Lock for Spin<T> {
    type Guard<'a>
        = SpinGuard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        (!self.held.swap(true, Acquire)).then(|| SpinGuard(self))
    }
}

impl<T> LockData for Spin<T> {
    type Data = T;

    fn data<'g>(guard: &'g mut SpinGuard<'_, T>) -> &'g mut T {
        guard
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one while the flag is set.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one while the flag is set, and it is borrowed exclusively.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        self.0.held.store(false, Release);
    }
}

/// A guard against a hang, not a bar.
fn plan() -> Plan {
    Plan::within(Duration::from_secs(60))
}

fn shut_down(stop: &Stop) {
    let report = stop.shutdown(plan());
    assert!(report.is_clean(), "{report}");
}

fn sections(rounds: u64) {
    let stop = Stop::new("sections");
    let sum = Arc::new(Monitor::new("sum", Spin::new(0_u64), &stop));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let sum = Arc::clone(&sum);
            let add = move || -> Result<(), Stopped> {
                for _ in 0..rounds {
                    *sum.lock()? += 1;
                }
                Ok(())
            };
            stop.spawn("adder", add).expect("a thread")
        })
        .collect();
    for thread in threads {
        thread.join().expect("ends").expect("not stopped");
    }
    assert_eq!(*sum.lock().expect("not stopped"), 4 * rounds);
    shut_down(&stop);
}

fn ping_pong(rounds: u64) {
    static TURN: Condvar = Condvar::new();
    let stop = Stop::new("ping_pong");
    let ball = Arc::new(Monitor::new("ball", Spin::new(0_u64), &stop));
    let threads: Vec<_> = (0..2)
        .map(|side| {
            let ball = Arc::clone(&ball);
            let play = move || -> Result<(), Stopped> {
                for _ in 0..rounds {
                    let mut ball = ball.lock()?.wait_while(&TURN, |ball| *ball % 2 != side)?;
                    *ball += 1;
                    drop(ball);
                    TURN.notify_all();
                }
                Ok(())
            };
            stop.spawn("player", play).expect("a thread")
        })
        .collect();
    let last = ball.when(|ball| (*ball == 2 * rounds).then_some(*ball)).expect("not stopped");
    assert_eq!(last, 2 * rounds);
    for thread in threads {
        thread.join().expect("ends").expect("not stopped");
    }
    shut_down(&stop);
}

fn handed_over(rounds: u64) {
    let stop = Stop::new("handed_over");
    let desk = Arc::new(Monitor::new("desk", Spin::new(Vec::new()), &stop));
    let clerk = Arc::clone(&desk);
    let work = move || -> Result<(), Stopped> {
        loop {
            let (completer, question): (unwedge::Completer<Box<u64>>, u64) = clerk.when(Vec::pop)?;
            // An asker that has gone gets nothing.
            drop(completer.complete(Box::new(question * 2)));
        }
    };
    stop.spawn("clerk", work).expect("a thread");
    for question in 0..rounds {
        let (completer, mut answer) = Completion::new("answer", &stop);
        desk.lock().expect("not stopped").push((completer, question));
        if question % 8 != 0 {
            assert_eq!(*answer.wait().expect("not stopped").expect("not abandoned"), question * 2);
        }
    }
    shut_down(&stop);
}

fn lives(rounds: u64) {
    for life in 0..rounds / 20 {
        let stop = Stop::new("life");
        let log = Arc::new(Monitor::new("log", Spin::new(Vec::new()), &stop));
        for thread in 0..3 {
            let log = Arc::clone(&log);
            let (_never, mut read) = Completion::<()>::new("read", &stop);
            let wait = move || -> Result<(), Stopped> {
                log.lock()?.push(thread);
                let _never = _never;
                drop(log.lock()?.wait_for(&mut read)?);
                unreachable!("nobody completes it")
            };
            stop.spawn("waiter", wait).expect("a thread");
        }
        let held = if life % 2 == 0 { log.lock().ok() } else { None };
        let report = stop.shutdown_holding(held, plan());
        assert!(report.is_clean(), "{report}");
        let Ok(log) = Arc::try_unwrap(log) else { unreachable!("every thread has dropped its own") };
        assert!(log.into_lock().data.into_inner().len() <= 3);
    }
}

/// The newcomer gets the slot that the ended thread gave back: it must not take itself for that thread.
fn strangers(rounds: u64) {
    let stop = Stop::new("strangers");
    for round in 0..rounds / 20 {
        let ended = stop.spawn("ended", move || round).expect("a thread");
        while !stop.report().members().is_empty() {
            std::thread::yield_now();
        }
        let joined = std::thread::spawn(move || ended.join()).join().expect("no panic");
        assert_eq!(joined.expect("joined"), round);
    }
    shut_down(&stop);
}
