//! Whether it pays to look for a wake-up for a moment before one sleeps.
//!
//! It does where another core wakes within microseconds, as in a hand-over to and fro; it does not where one waits for storage, or for somebody on one's own
//! core. So it is tried, and tried less and less often while it fails: a try that fails costs its whole time, and in the end one of 8,192 sleeps has one.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::Relaxed;

/// How many sleeps go by at most before it is tried again.
const SKIP: u32 = 8191;

/// Looks between two looks at the clock.
const LOOKS: u32 = 16;

/// What a thread has learnt of one kind of sleep.
struct Learnt {
    /// Sleeps until it is tried again.
    skip: Cell<u32>,
    /// How many were skipped last time; `NOTHING`, if there was none.
    skipped: Cell<u32>,
}

const NOTHING: u32 = u32::MAX;

/// One kind of sleep, and what is known of it.
struct Kind {
    /// What the last thread has learnt, with which a new one begins. Ordering: Relaxed, a hint.
    shared: AtomicU32,
    /// How long a try lasts.
    limit: Duration,
}

thread_local! {
    static THREAD: Learnt = const { Learnt { skip: Cell::new(0), skipped: Cell::new(NOTHING) } };
    static TASK: Learnt = const { Learnt { skip: Cell::new(0), skipped: Cell::new(NOTHING) } };
}

/// A thread's sleep. Longer than it takes to wake another core (5 to 30 µs), so that two threads that hand over to and fro both come to look for the other,
/// and sleep no more.
static THREADS: Kind = Kind { shared: AtomicU32::new(0), limit: Duration::from_micros(50) };

/// A task's, after which its runtime may sleep. Short, because other tasks may be waiting for the thread; long enough for a thread that looks on another
/// core to hand back.
static TASKS: Kind = Kind { shared: AtomicU32::new(0), limit: Duration::from_micros(2) };

impl Learnt {
    fn set(&self, skipped: u32) {
        self.skipped.set(skipped);
        self.skip.set(skipped);
    }
}

impl Kind {
    /// Looks, where it is due. Whether it was seen.
    #[inline(always)]
    fn look(&self, own: &Learnt, seen: impl FnMut() -> bool) -> bool {
        let skip = own.skip.get();
        if skip > 0 {
            own.skip.set(skip - 1);
            return false;
        }
        self.look_now(own, seen)
    }

    #[cold]
    fn look_now(&self, own: &Learnt, mut seen: impl FnMut() -> bool) -> bool {
        if own.skipped.get() == NOTHING {
            own.set(self.shared.load(Relaxed));
            return self.look(own, seen);
        }
        let begun = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if seen() {
                    self.learn(own, 0);
                    return true;
                }
                spin_loop();
            }
            if begun.elapsed() >= self.limit {
                self.learn(own, (2 * own.skipped.get() + 1).min(SKIP));
                return false;
            }
        }
    }

    fn learn(&self, own: &Learnt, skipped: u32) {
        self.shared.store(skipped, Relaxed);
        own.set(skipped);
    }
}

/// Looks for the token of a thread, where it is due. Whether it was seen.
#[inline]
pub(super) fn look_as_thread(seen: impl FnMut() -> bool) -> bool {
    THREAD.with(|own| THREADS.look(own, seen))
}

/// Looks for the end of a task's wait, where it is due. Whether it was seen.
#[inline]
pub(crate) fn look_as_task(seen: impl FnMut() -> bool) -> bool {
    TASK.with(|own| TASKS.look(own, seen))
}
