//! How a lock that others also take directly is taken again after a notification: the policies of [`Relock`], and two wrappers.
//!
//! A wait has let the lock go, was notified, and now stands among the lock's other users, whose unlocks no monitor sees. Each policy
//! answers two questions: where the thread waits, and how often it looks whether a stop has come. The lock's own queue costs no CPU and
//! keeps its order, but no stop reaches into it; so a timed lock is waited for in slices. Giving up a slice gives up the place in a fair
//! queue, so the slices grow: a waiter that is overtaken once stands twice as long the next time, and a queue that moves on within
//! [`Relock::MAX_SLICE`] starves nobody.
//!
//! Invariants:
//! - **looked-at**: between two looks at the stop lies one slice, one pause, or (a plain lock) one stay in the lock's queue, never more;
//! - **unlocked**: a relock that says stopped holds no guard: one that came together with the stop is dropped first (law L2).

use std::{
    hint, thread,
    time::{Duration, Instant},
};

use crate::sys;

use super::{ForeignLock, Lock, Relock, SharedLock};

/// The first steps of a [`Pause`]: busy, 1 to 64 spin hints.
const SPINS: u32 = 7;
/// The steps after them: the processor is offered to another thread.
const YIELDS: u32 = 4;
/// The first sleep; the kernel adds its timer slack, usually 50 µs.
const FIRST_SLEEP: Duration = Duration::from_micros(16);

/// A pause that grows: a few spins, a few yields, then sleeps that double up to [`Relock::MAX_PAUSE`].
struct Pause {
    step: u32,
}

impl Pause {
    fn new() -> Self {
        Pause { step: 0 }
    }

    /// Pauses, no longer than `limit`, and a bit longer the next time.
    #[expect(
        clippy::disallowed_methods,
        reason = "a nap of 1 ms at most between two attempts; its caller looks for a stop after each"
    )]
    fn wait(&mut self, limit: Duration) {
        let step = self.step;
        if step < SPINS {
            for _ in 0..1_u32 << step {
                hint::spin_loop();
            }
        } else if step < SPINS + YIELDS {
            thread::yield_now();
        } else {
            let nap = FIRST_SLEEP * (1 << (step - SPINS - YIELDS));
            thread::sleep(nap.min(Relock::MAX_PAUSE).min(limit));
            if nap >= Relock::MAX_PAUSE {
                return; // the longest already: keeps `step`, and so the shift above, small
            }
        }
        self.step = step + 1;
    }
}

/// Takes the lock by `try_lock` with growing pauses until `until`: the way of a lock that has no timed form.
pub(super) fn backoff_until<L: Lock + ?Sized>(lock: &L, until: Instant) -> Option<L::Guard<'_>> {
    let mut pause = Pause::new();
    loop {
        if let Some(guard) = lock.try_lock() {
            return Some(guard);
        }
        let left = until.saturating_duration_since(sys::now());
        if left.is_zero() {
            return None;
        }
        pause.wait(left);
    }
}

/// Takes the lock again as its policy says, unless `stopped`: what [`ForeignLock::relock`] does where a lock has nothing better.
pub(super) fn relock<'a, L: ForeignLock + ?Sized>(lock: &'a L, stopped: &dyn Fn() -> bool) -> Option<L::Guard<'a>> {
    if stopped() {
        return None;
    }
    let guard = match lock.try_lock() {
        Some(guard) => guard,
        None => match L::RELOCK {
            Relock::Timed => in_slices(lock, stopped)?,
            Relock::Backoff => by_polling(lock, stopped)?,
            Relock::Plain => in_its_queue(lock, stopped)?,
        },
    };
    (!stopped()).then_some(guard)
}

fn in_slices<'a, L: ForeignLock + ?Sized>(lock: &'a L, stopped: &dyn Fn() -> bool) -> Option<L::Guard<'a>> {
    let mut slice = Relock::SLICE;
    while !stopped() {
        if let Some(guard) = lock.lock_until(sys::now() + slice) {
            return Some(guard);
        }
        slice = (slice * 2).min(Relock::MAX_SLICE);
    }
    None
}

fn by_polling<'a, L: Lock + ?Sized>(lock: &'a L, stopped: &dyn Fn() -> bool) -> Option<L::Guard<'a>> {
    let mut pause = Pause::new();
    while !stopped() {
        if let Some(guard) = lock.try_lock() {
            return Some(guard);
        }
        pause.wait(Relock::MAX_PAUSE);
    }
    None
}

fn in_its_queue<'a, L: ForeignLock + ?Sized>(lock: &'a L, stopped: &dyn Fn() -> bool) -> Option<L::Guard<'a>> {
    // A plain lock blocks until it has the guard; a wrong one that comes back without is asked again.
    while !stopped() {
        if let Some(guard) = lock.lock_until(sys::now() + Relock::SLICE) {
            return Some(guard);
        }
    }
    None
}

/// Any [`Lock`] as a [`ForeignLock`], taken again by bounded back-off: for a lock of another crate that has only a `try_lock`.
///
/// It borrows the lock, and its guards are the lock's own: so it is made where it is needed, and a guard that was taken from the lock
/// itself goes in and comes out.
///
/// Keeps L1 and L2; a stop is seen within [`Relock::MAX_PAUSE`]. It polls: about a thousand times a second once a relock has lasted for
/// some milliseconds. Unfair, and it starves on a lock that refuses `try_lock` while anyone queues.
///
/// ```
/// use std::time::{Duration, Instant};
/// use unwedge::lock::{Backoff, ForeignLock, Lock};
/// # struct Spin(std::sync::atomic::AtomicBool);
/// # struct SpinGuard<'a>(&'a Spin);
/// # impl Drop for SpinGuard<'_> {
/// #     fn drop(&mut self) { self.0.0.store(false, std::sync::atomic::Ordering::Release) }
/// # }
/// # impl Lock for Spin {
/// #     type Guard<'a> = SpinGuard<'a>;
/// #     fn try_lock(&self) -> Option<SpinGuard<'_>> {
/// #         (!self.0.swap(true, std::sync::atomic::Ordering::Acquire)).then(|| SpinGuard(self))
/// #     }
/// # }
/// let spin = Spin(false.into());
/// let guard = spin.try_lock().expect("nobody holds it");
/// let soon = Instant::now() + Duration::from_millis(5);
/// assert!(Backoff::new(&spin).lock_until(soon).is_none());
/// drop(guard);
/// assert!(Backoff::new(&spin).lock_until(soon).is_some());
/// ```
#[derive(Debug)]
pub struct Backoff<'l, L: ?Sized>(&'l L);

impl<'l, L: Lock + ?Sized> Backoff<'l, L> {
    /// The lock, with back-off.
    #[must_use]
    pub fn new(lock: &'l L) -> Self {
        Backoff(lock)
    }
}

impl<'l, L: Lock + ?Sized> Lock for Backoff<'l, L> {
    type Guard<'a>
        = L::Guard<'l>
    where
        Self: 'a;

    fn try_lock(&self) -> Option<L::Guard<'l>> {
        self.0.try_lock()
    }
}

impl<L: Lock + ?Sized> ForeignLock for Backoff<'_, L> {}

/// The reader's mode of a [`SharedLock`] as a lock of its own: so that who holds a reader-writer lock for reading can wait on a
/// [`Condvar`](crate::Condvar) with that guard. (A [`Monitor`](crate::Monitor) has [`read`](crate::Monitor::read) for it.)
///
/// It borrows the lock, and its guards are the lock's own. The reader's mode of this crate's adapters is a [`ForeignLock`] with the same
/// policy as the writer's; for a lock of your own, `Backoff::new(&Reading::new(&lock))` is one.
///
/// Several hold such a "lock" at once, so what is notified must be changed in the writer's mode: a state that a reader changes (an
/// atomic in the data, say) can be changed between another reader's look and its wait.
#[derive(Debug)]
pub struct Reading<'l, L: ?Sized>(pub(super) &'l L);

impl<'l, L: SharedLock + ?Sized> Reading<'l, L> {
    /// The reader's mode of `lock`.
    #[must_use]
    pub fn new(lock: &'l L) -> Self {
        Reading(lock)
    }
}

impl<'l, L: SharedLock + ?Sized> Lock for Reading<'l, L> {
    type Guard<'a>
        = L::SharedGuard<'l>
    where
        Self: 'a;

    fn try_lock(&self) -> Option<L::SharedGuard<'l>> {
        self.0.try_lock_shared()
    }
}
