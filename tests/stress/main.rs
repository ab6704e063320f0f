//! Stress on real threads, for what loom does not model: the futex parker, std's mutex, the clock's deadlines, thread-locals, and slots that
//! are used again.
//!
//! | modelled otherwise (`sys`) | test |
//! |---|---|
//! | parker, deadlines | `notifications`, `values` |
//! | std's mutex, real locks and tokio's wakers | `locks`, `notifications` |
//! | thread-locals: threads that end while others read reports | `lives` |
//! | arenas of more than one chunk, slots that change hands | `lives`, `values` |
//!
//! Each test runs for a second or so with random steps from a fixed seed, and checks an invariant that a lost wake-up, a second owner or a value
//! dropped twice breaks. The threads' timing is the system's, so a run is not repeated exactly by its seed.

#[path = "../common/mod.rs"]
mod common;

mod lives;
mod locks;
mod notifications;
mod values;

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long each test goes on.
pub(crate) const TIME: Duration = Duration::from_millis(1200);

/// A small random number generator (xorshift): one for each thread, from the test's seed and the thread's number.
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// The numbers that follow from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        random.below(2);
        random
    }

    /// A number below `limit`.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        (x >> 11) % limit
    }

    /// A deadline that has come already, or comes within a fraction of a millisecond.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_micros(self.below(4) * self.below(150))
    }

    /// Sometimes lets others run.
    pub(crate) fn pause(&self) {
        match self.below(8) {
            0 => std::thread::yield_now(),
            1 => (0..self.below(500)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}
