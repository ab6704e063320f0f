//! Notifications: to nobody, and to 64 threads at once.

use std::hint::black_box;
use std::thread;

use parking_lot as pl;
use unwedge::{Condvar, Monitor, Stop};

use super::{Contest, Side, UNPOISONED, UNSTOPPED};
use crate::machine::Pinned;
use crate::measure::{Measured, Stopwatch, repeat};
use crate::verdict::Bar;

/// Threads woken at once.
const THREADS: u64 = 64;

fn idle<C>(n: u64, condvar: C, notify: impl Fn(&C)) -> Measured {
    repeat(n, || notify(black_box(&condvar)))
}

pub(super) fn notify_idle() -> Vec<Contest> {
    vec![Contest {
        ours: Side::ops("unwedge Condvar", |n| idle(n, Condvar::new(), |c| _ = c.notify_one())),
        peers: vec![
            (
                Side::ops("parking_lot Condvar", |n| idle(n, pl::Condvar::new(), |c| _ = c.notify_one())),
                Bar::WithinNs(0.5),
            ),
            (Side::ops("std Condvar", |n| idle(n, std::sync::Condvar::new(), |c| c.notify_one())), Bar::Ratio(0.05)),
        ],
    }]
}

/// What the conductor and the 64 share: which round it is, and how many have not yet taken part in it and gone back to waiting.
struct Round {
    number: u64,
    missing: u64,
}

impl Round {
    /// Before the first round everybody is still on the way to the first wait.
    const GATHERING: Round = Round { number: 0, missing: THREADS };

    fn begin(&mut self) {
        self.number += 1;
        self.missing = THREADS;
    }

    /// Takes part in the round; gives whether that was the last one missing. Who takes part holds the lock from here until it waits
    /// again: so when nobody is missing, all are waiting.
    fn join(&mut self) -> bool {
        self.missing -= 1;
        self.missing == 0
    }
}

/// A lock around a [`Round`] with two condition variables: one on which the 64 wait, one on which the conductor waits.
trait Ensemble: Sync {
    fn new() -> Self;
    /// Waits until nobody is missing.
    fn gather(&self);
    /// Begins the next round, wakes all, and waits until nobody is missing.
    fn conduct(&self);
    /// Takes part in the gathering and in the `n` rounds after it; gives the number of rounds that it took part in.
    fn follow(&self, n: u64) -> u64;
}

struct Ours {
    monitor: Monitor<pl::Mutex<Round>>,
    begun: Condvar,
    ended: Condvar,
}

impl Ensemble for Ours {
    fn new() -> Self {
        let monitor = Monitor::new("bench", pl::Mutex::new(Round::GATHERING), &Stop::new("bench"));
        Ours { monitor, begun: Condvar::new(), ended: Condvar::new() }
    }

    fn gather(&self) {
        let round = self.monitor.lock().expect(UNSTOPPED);
        drop(round.wait_while(&self.ended, |round| round.missing > 0).expect(UNSTOPPED));
    }

    fn conduct(&self) {
        let mut round = self.monitor.lock().expect(UNSTOPPED);
        round.begin();
        self.begun.notify_all();
        drop(round.wait_while(&self.ended, |round| round.missing > 0).expect(UNSTOPPED));
    }

    fn follow(&self, n: u64) -> u64 {
        let mut round = self.monitor.lock().expect(UNSTOPPED);
        for last in 0..n {
            if round.join() {
                self.ended.notify_one();
            }
            round = round.wait_while(&self.begun, |round| round.number == last).expect(UNSTOPPED);
        }
        if round.join() {
            self.ended.notify_one();
        }
        round.number
    }
}

struct ParkingLot {
    round: pl::Mutex<Round>,
    begun: pl::Condvar,
    ended: pl::Condvar,
}

impl Ensemble for ParkingLot {
    fn new() -> Self {
        ParkingLot { round: pl::Mutex::new(Round::GATHERING), begun: pl::Condvar::new(), ended: pl::Condvar::new() }
    }

    fn gather(&self) {
        self.ended.wait_while(&mut self.round.lock(), |round| round.missing > 0);
    }

    fn conduct(&self) {
        let mut round = self.round.lock();
        round.begin();
        self.begun.notify_all();
        self.ended.wait_while(&mut round, |round| round.missing > 0);
    }

    fn follow(&self, n: u64) -> u64 {
        let mut round = self.round.lock();
        for last in 0..n {
            if round.join() {
                self.ended.notify_one();
            }
            self.begun.wait_while(&mut round, |round| round.number == last);
        }
        if round.join() {
            self.ended.notify_one();
        }
        round.number
    }
}

struct Std {
    round: std::sync::Mutex<Round>,
    begun: std::sync::Condvar,
    ended: std::sync::Condvar,
}

impl Ensemble for Std {
    fn new() -> Self {
        let round = std::sync::Mutex::new(Round::GATHERING);
        Std { round, begun: std::sync::Condvar::new(), ended: std::sync::Condvar::new() }
    }

    fn gather(&self) {
        let round = self.round.lock().expect(UNPOISONED);
        drop(self.ended.wait_while(round, |round| round.missing > 0).expect(UNPOISONED));
    }

    fn conduct(&self) {
        let mut round = self.round.lock().expect(UNPOISONED);
        round.begin();
        self.begun.notify_all();
        drop(self.ended.wait_while(round, |round| round.missing > 0).expect(UNPOISONED));
    }

    fn follow(&self, n: u64) -> u64 {
        let mut round = self.round.lock().expect(UNPOISONED);
        for last in 0..n {
            if round.join() {
                self.ended.notify_one();
            }
            round = self.begun.wait_while(round, |round| round.number == last).expect(UNPOISONED);
        }
        if round.join() {
            self.ended.notify_one();
        }
        round.number
    }
}

/// On 1 core, or on all (0). One operation is a whole round: 64 waiting threads are woken, and all have held the lock and wait again.
fn rounds<E: Ensemble, const CORES: usize>(n: u64) -> Measured {
    let _pinned = (CORES == 1).then(|| Pinned::to(0));
    let ensemble = E::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| ensemble.follow(n))).collect();
        ensemble.gather();
        let watch = Stopwatch::start();
        for _ in 0..n {
            ensemble.conduct();
        }
        let measured = watch.stop(n);
        for thread in threads {
            assert_eq!(thread.join().expect("a woken thread panicked"), n, "a round was missed");
        }
        measured
    })
}

pub(super) fn notify_all() -> Vec<Contest> {
    vec![
        Contest::of_all(
            Side::ops("unwedge Condvar, 1 core", rounds::<Ours, 1>),
            [
                Side::ops("parking_lot Condvar, 1 core", rounds::<ParkingLot, 1>),
                Side::ops("std Condvar, 1 core", rounds::<Std, 1>),
            ],
        ),
        Contest::of_all(
            Side::ops("unwedge Condvar, all cores", rounds::<Ours, 0>),
            [
                Side::ops("parking_lot Condvar, all cores", rounds::<ParkingLot, 0>),
                Side::ops("std Condvar, all cores", rounds::<Std, 0>),
            ],
        ),
    ]
}
