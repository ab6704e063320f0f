//! What all sides of a group of random reads share: which page is read next, whether it was the right one, how long it took.
//!
//! A side that has `n` reads in flight has `n` lanes. They take their reads from one count, so that all are busy to the end.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::time::{Duration, Instant};

use super::page::{PAGE, Page};
use crate::measure::{Measured, Stopwatch};

/// Reads that are to be done. A figure to count down and nothing else: so relaxed.
#[derive(Debug)]
struct Count {
    begun: AtomicU64,
    all: u64,
}

/// See the [module](self). `TIMED`: the time of each read counts, not that of all.
#[derive(Debug)]
pub struct Lane<const TIMED: bool> {
    count: Arc<Count>,
    random: u64,
    pages: u64,
    asked: u64,
    since: Instant,
    times: Vec<u32>,
    done: u64,
}

/// Lanes for `reads` reads of a file of so many pages.
#[must_use]
pub fn lanes<const TIMED: bool>(number: usize, reads: u64, pages: u64) -> Vec<Lane<TIMED>> {
    let count = Arc::new(Count { begun: AtomicU64::new(0), all: reads });
    let times = if TIMED { reads as usize } else { 0 };
    let lane = |index: u64| Lane {
        count: count.clone(),
        random: (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        pages,
        asked: 0,
        since: Instant::now(),
        times: Vec::with_capacity(times),
        done: 0,
    };
    (0..number as u64).map(lane).collect()
}

impl<const TIMED: bool> Lane<TIMED> {
    /// Where the next read begins, in bytes; `None` when all were begun.
    #[inline]
    pub fn next(&mut self) -> Option<u64> {
        if self.count.begun.fetch_add(1, Relaxed) >= self.count.all {
            return None;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.asked = self.random % self.pages;
        if TIMED {
            self.since = Instant::now();
        }
        Some(self.asked * PAGE as u64)
    }

    /// Takes what the read brought.
    ///
    /// # Panics
    ///
    /// If it is not what was asked for.
    #[inline]
    pub fn check(&mut self, page: &Page) {
        if TIMED {
            self.times.push(u32::try_from(self.since.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        assert_eq!(page.number(), self.asked, "a read brought another page");
        self.done += 1;
    }
}

/// What the lanes did since the watch was started.
///
/// # Panics
///
/// If they did not do all reads.
#[must_use]
pub fn finish<const TIMED: bool>(watch: Stopwatch, lanes: impl IntoIterator<Item = Lane<TIMED>>) -> Measured {
    let mut lanes = lanes.into_iter().peekable();
    let all = lanes.peek().map_or(0, |lane| lane.count.all);
    let mut measured = watch.stop(all);
    let (mut done, mut times) = (0, Vec::new());
    for lane in lanes {
        done += lane.done;
        times.extend(lane.times);
    }
    assert_eq!(done, all, "not all reads were done");
    if TIMED {
        times.sort_unstable();
        measured.wall = Duration::from_nanos(u64::from(times[times.len() / 2]) * all);
    }
    measured
}
