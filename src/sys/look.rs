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

#[derive(Clone, Copy)]
struct Learnt {
    /// Sleeps until it is tried again.
    skip: u32,
    /// How many were skipped last time.
    skipped: u32,
}

/// One kind of sleep, and what is known of it.
struct Kind {
    /// What the last thread has learnt, with which a new one begins. Ordering: Relaxed, a hint.
    shared: AtomicU32,
    /// How long a try lasts.
    limit: Duration,
}

thread_local! {
    /// What this thread has learnt.
    static THREAD: Cell<Option<Learnt>> = const { Cell::new(None) };
    static TASK: Cell<Option<Learnt>> = const { Cell::new(None) };
}

/// A thread's sleep. Longer than it takes to wake another core (5 to 30 µs), so that two threads that hand over to and fro both come to look for the other,
/// and sleep no more.
static THREADS: Kind = Kind { shared: AtomicU32::new(0), limit: Duration::from_micros(50) };

/// A task's, after which its runtime may sleep. Short, because other tasks may be waiting for the thread; long enough for a thread that looks on another
/// core to hand back.
static TASKS: Kind = Kind { shared: AtomicU32::new(0), limit: Duration::from_micros(2) };

impl Kind {
    /// Looks, where it is due. Whether it was seen.
    #[inline]
    fn look(&self, own: &Cell<Option<Learnt>>, seen: impl FnMut() -> bool) -> bool {
        let Learnt { skip, skipped } = own.get().unwrap_or_else(|| {
            let skipped = self.shared.load(Relaxed);
            Learnt { skip: skipped, skipped }
        });
        if skip > 0 {
            own.set(Some(Learnt { skip: skip - 1, skipped }));
            return false;
        }
        self.look_now(own, skipped, seen)
    }

    #[cold]
    fn look_now(&self, own: &Cell<Option<Learnt>>, skipped: u32, mut seen: impl FnMut() -> bool) -> bool {
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
                self.learn(own, (2 * skipped + 1).min(SKIP));
                return false;
            }
        }
    }

    fn learn(&self, own: &Cell<Option<Learnt>>, skipped: u32) {
        self.shared.store(skipped, Relaxed);
        own.set(Some(Learnt { skip: skipped, skipped }));
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
