//! Taking and leaving a monitor, alone and against another thread.

use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use unwedge::{Monitor, Stop};

use super::{Contest, Side, UNPOISONED, UNSTOPPED, Work};
use crate::measure::{Measured, Stopwatch, repeat};
use crate::verdict::Bar;

/// Spin hints inside the section, and as many outside it.
const SPINS: u32 = 20;

/// Acquisitions timed at most in one run, for each thread.
const TIMED: usize = 1 << 20;

/// A lock around a number.
trait Section: Sync {
    fn new() -> Self;
    /// Runs `f` on the number with the lock held.
    fn enter<R>(&self, f: impl FnOnce(&mut u64) -> R) -> R;
}

impl Section for Monitor<parking_lot::Mutex<u64>> {
    fn new() -> Self {
        Monitor::new("bench", parking_lot::Mutex::new(0), &Stop::new("bench"))
    }

    #[inline]
    fn enter<R>(&self, f: impl FnOnce(&mut u64) -> R) -> R {
        f(&mut self.lock().expect(UNSTOPPED))
    }
}

impl Section for parking_lot::Mutex<u64> {
    fn new() -> Self {
        parking_lot::Mutex::new(0)
    }

    #[inline]
    fn enter<R>(&self, f: impl FnOnce(&mut u64) -> R) -> R {
        f(&mut self.lock())
    }
}

impl Section for std::sync::Mutex<u64> {
    fn new() -> Self {
        std::sync::Mutex::new(0)
    }

    #[inline]
    fn enter<R>(&self, f: impl FnOnce(&mut u64) -> R) -> R {
        f(&mut self.lock().expect(UNPOISONED))
    }
}

fn alone<S: Section>(n: u64) -> Measured {
    let section = S::new();
    let measured = repeat(n, || black_box(&section).enter(|number| *number += 1));
    assert_eq!(section.enter(|number| *number), n);
    measured
}

pub(super) fn uncontended() -> Vec<Contest> {
    vec![Contest {
        ours: Side::ops("unwedge Monitor", alone::<Monitor<parking_lot::Mutex<u64>>>),
        peers: vec![(Side::ops("parking_lot Mutex", alone::<parking_lot::Mutex<u64>>), Bar::BestPeer(1.4))],
    }]
}

/// Two threads enter the section until the span is over; `around` does one round of a thread and may note what it saw.
fn two<S: Section, N: Send>(span: Duration, notes: fn() -> N, around: fn(&S, &mut N)) -> (Measured, Vec<N>) {
    // Each on cache lines of its own: what lies beside a lock is not what is measured.
    let section = CachePadded::new(S::new());
    let over = CachePadded::new(AtomicBool::new(false));
    let begin = Barrier::new(3);
    thread::scope(|scope| {
        let run = || {
            let mut noted = notes();
            let mut rounds = 0;
            begin.wait();
            while !over.load(Relaxed) {
                around(&section, &mut noted);
                for _ in 0..SPINS {
                    spin_loop();
                }
                rounds += 1;
            }
            (rounds, noted)
        };
        let threads = [scope.spawn(run), scope.spawn(run)];
        begin.wait();
        let watch = Stopwatch::start();
        thread::sleep(span);
        over.store(true, Relaxed);
        let mut measured = watch.stop(0);
        let mut all = Vec::new();
        for thread in threads {
            let (rounds, noted) = thread.join().expect("a competing thread panicked");
            measured.served.push(rounds);
            all.push(noted);
        }
        measured.ops = measured.served.iter().sum();
        assert_eq!(section.enter(|number| *number), measured.ops);
        (measured, all)
    })
}

/// What is done with the lock held.
#[inline]
fn inside(number: &mut u64) {
    *number += 1;
    for _ in 0..SPINS {
        spin_loop();
    }
}

fn compete<S: Section>(span: Duration) -> Measured {
    two::<S, ()>(span, || (), |section, ()| section.enter(inside)).0
}

/// The times of one thread's acquisitions; every page is touched before the first is taken, so that no page fault is among them.
struct Times {
    taken: Vec<u32>,
    used: usize,
}

fn timed<S: Section>(span: Duration) -> Vec<u32> {
    let notes = || Times { taken: vec![u32::MAX; TIMED], used: 0 };
    let (_, all) = two::<S, Times>(span, notes, |section, times| {
        let asked = Instant::now();
        let waited = section.enter(|number| {
            let waited = asked.elapsed();
            inside(number);
            waited
        });
        if let Some(slot) = times.taken.get_mut(times.used) {
            *slot = u32::try_from(waited.as_nanos()).unwrap_or(u32::MAX);
            times.used += 1;
        }
    });
    all.into_iter().flat_map(|times| times.taken.into_iter().take(times.used)).collect()
}

fn competing<S: Section>(name: &'static str) -> Side {
    Side { name, work: Work::Span { work: compete::<S>, latencies: timed::<S> } }
}

pub(super) fn contended() -> Vec<Contest> {
    vec![Contest {
        ours: competing::<Monitor<parking_lot::Mutex<u64>>>("unwedge Monitor"),
        peers: vec![
            (competing::<parking_lot::Mutex<u64>>("parking_lot Mutex"), Bar::BestPeer(1.1)),
            (competing::<std::sync::Mutex<u64>>("std Mutex"), Bar::BestPeer(1.1)),
        ],
    }]
}
