//! Two threads that hand a turn to and fro over a lock and two condition variables.
//!
//! The lock is held from one wait to the next: notify with the lock held, then wait. That is how a daemon with one big lock does it, and
//! where moving a waiter to the lock instead of waking it into a held lock shows.

use std::thread;

use parking_lot as pl;
use unwedge::{Condvar, Monitor, Stop};

use super::{Contest, Side, UNPOISONED, UNSTOPPED};
use crate::machine::Pinned;
use crate::measure::{Measured, Stopwatch};

/// Turns, of each of the two, that are taken before the measurement begins.
pub(super) const WARM_UP: u64 = 16;

/// Whose turn it is, with what it takes to wait for one's own.
pub(super) trait Turns: Send + Sync {
    fn new() -> Self;
    /// Takes `n` turns as `me`, 0 or 1, and hands each on to the other; on return the last one is handed over.
    fn take(&self, me: usize, n: u64);
}

/// Ours, for the groups with tasks too: any mix of threads and tasks may wait.
pub(super) struct Ours {
    pub(super) turn: Monitor<pl::Mutex<usize>>,
    pub(super) mine: [Condvar; 2],
}

impl Turns for Ours {
    fn new() -> Self {
        Ours {
            turn: Monitor::new("bench", pl::Mutex::new(0), &Stop::new("bench")),
            mine: [Condvar::new(), Condvar::new()],
        }
    }

    fn take(&self, me: usize, n: u64) {
        let mut turn = self.turn.lock().expect(UNSTOPPED);
        for _ in 0..n {
            turn = turn.wait_while(&self.mine[me], |turn| *turn != me).expect(UNSTOPPED);
            *turn = 1 - me;
            self.mine[1 - me].notify_one();
        }
    }
}

struct ParkingLot {
    turn: pl::Mutex<usize>,
    mine: [pl::Condvar; 2],
}

impl Turns for ParkingLot {
    fn new() -> Self {
        ParkingLot { turn: pl::Mutex::new(0), mine: [pl::Condvar::new(), pl::Condvar::new()] }
    }

    fn take(&self, me: usize, n: u64) {
        let mut turn = self.turn.lock();
        for _ in 0..n {
            self.mine[me].wait_while(&mut turn, |turn| *turn != me);
            *turn = 1 - me;
            self.mine[1 - me].notify_one();
        }
    }
}

struct Std {
    turn: std::sync::Mutex<usize>,
    mine: [std::sync::Condvar; 2],
}

impl Turns for Std {
    fn new() -> Self {
        Std { turn: std::sync::Mutex::new(0), mine: Default::default() }
    }

    fn take(&self, me: usize, n: u64) {
        let mut turn = self.turn.lock().expect(UNPOISONED);
        for _ in 0..n {
            turn = self.mine[me].wait_while(turn, |turn| *turn != me).expect(UNPOISONED);
            *turn = 1 - me;
            self.mine[1 - me].notify_one();
        }
    }
}

/// On `CORES` cores, 1 or 2. One operation is one turn. That none is lost needs no count: the two take turns strictly, so a lost one would be a hang.
fn threads<T: Turns, const CORES: usize>(n: u64) -> Measured {
    let each = n.div_ceil(2);
    let turns = T::new();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let _pinned = Pinned::to(CORES - 1);
            turns.take(1, WARM_UP + each);
        });
        let _pinned = Pinned::to(0);
        turns.take(0, WARM_UP);
        let watch = Stopwatch::start();
        turns.take(0, each);
        other.join().expect("the other thread panicked");
        watch.stop(2 * each)
    })
}

pub(super) fn contests() -> Vec<Contest> {
    vec![
        Contest::of_all(
            Side::ops("unwedge Condvar, 1 core", threads::<Ours, 1>),
            [
                Side::ops("std Condvar, 1 core", threads::<Std, 1>),
                Side::ops("parking_lot Condvar, 1 core", threads::<ParkingLot, 1>),
            ],
        ),
        Contest::of_all(
            Side::ops("unwedge Condvar, 2 cores", threads::<Ours, 2>),
            [
                Side::ops("std Condvar, 2 cores", threads::<Std, 2>),
                Side::ops("parking_lot Condvar, 2 cores", threads::<ParkingLot, 2>),
            ],
        ),
    ]
}
