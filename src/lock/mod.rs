//! What a lock must do to take part, and the adapters that ship with this crate.
//!
//! A lock joins with a guard type and a `try_lock`:
//!
//! ```
//! use std::sync::atomic::{AtomicBool, Ordering::{Acquire, Release}};
//! use unwedge::{lock::Lock, Monitor, Stop};
//!
//! struct Spin(AtomicBool);
//! struct SpinGuard<'a>(&'a Spin);
//! impl Drop for SpinGuard<'_> {
//!     fn drop(&mut self) { self.0.0.store(false, Release) }
//! }
//! impl Lock for Spin {
//!     type Guard<'a> = SpinGuard<'a>;
//!     fn try_lock(&self) -> Option<SpinGuard<'_>> {
//!         (!self.0.swap(true, Acquire)).then(|| SpinGuard(self))
//!     }
//! }
//!
//! let stop = Stop::new("example");
//! let monitor = Monitor::new("spin", Spin(AtomicBool::new(false)), &stop);
//! let guard = monitor.lock()?;
//! # drop(guard);
//! # Ok::<(), unwedge::Stopped>(())
//! ```
//!
//! The traits are safe to implement: a wrong implementation may make others wait too long, it cannot make this crate unsound, because
//! nothing here touches the data but through the guard that the lock itself gave out.

use std::time::{Duration, Instant};

mod foreign;
#[cfg(all(feature = "parking_lot", not(unwedge_loom)))]
mod lock_api_04;
#[cfg(all(feature = "parking_lot_0_13", not(unwedge_loom)))]
mod lock_api_05;
#[cfg(all(any(feature = "parking_lot", feature = "parking_lot_0_13"), not(unwedge_loom)))]
mod lock_api_impls;
#[expect(clippy::disallowed_types, reason = "the adapters of these very types")]
mod std_sync;
#[cfg(all(feature = "tokio", not(unwedge_loom)))]
mod tokio_sync;

pub use foreign::{Backoff, Reading};

/// A lock that a [`Monitor`](crate::Monitor) can own.
///
/// The guard's drop is the unlock.
pub trait Lock {
    /// Proof that the lock is held; dropping it unlocks.
    type Guard<'a>
    where
        Self: 'a;

    /// Takes the lock if it is free.
    ///
    /// `None` only while somebody else holds the lock: there must be no spurious failure. A monitor whose lock fails spuriously may
    /// leave a waiter asleep until the next unlock.
    fn try_lock(&self) -> Option<Self::Guard<'_>>;
}

/// A reader-writer lock: [`Lock`] is its writer's mode, this adds the reader's.
pub trait SharedLock: Lock {
    /// Proof that the lock is held for reading; dropping it unlocks.
    type SharedGuard<'a>
    where
        Self: 'a;

    /// Takes the lock for reading if no writer holds it.
    ///
    /// `None` only while a writer holds the lock, with the same care as in [`Lock::try_lock`].
    fn try_lock_shared(&self) -> Option<Self::SharedGuard<'_>>;
}

/// Reaches the data that a guard protects, without a bound on the guard: so the data may hold borrows.
///
/// [`Monitor::when`](crate::Monitor::when) needs it, because its closure must see the data and not the guard (a guard could be swapped
/// for another lock's).
///
/// A lock that never gives exclusive access has none: a reentrant mutex, whose holder may have several guards at once and changes the data
/// through a `Cell`. So there is no `when` over it, and a `when` that is given `&Data` would be no help: who waits there looks again when an
/// exclusive guard was dereferenced mutably, and no change through a `Cell` shows. Wait on a [`Condvar`](crate::Condvar) instead, and notify:
///
/// ```
/// # #[cfg(feature = "parking_lot")] {
/// use std::{cell::Cell, sync::Arc};
/// use parking_lot::ReentrantMutex;
/// use unwedge::{Condvar, Monitor, Stop};
///
/// static OPENED: Condvar = Condvar::new();
///
/// let stop = Stop::new("mds.a");
/// let sessions = Arc::new(Monitor::new("sessions", ReentrantMutex::new(Cell::new(0)), &stop));
/// let own = Arc::clone(&sessions);
/// stop.spawn("opener", move || {
///     own.lock()?.set(1);
///     OPENED.notify_one();
///     Ok::<(), unwedge::Stopped>(())
/// })?;
/// let mut guard = sessions.lock()?;
/// while guard.get() == 0 {
///     guard = guard.wait(&OPENED)?;
/// }
/// # drop(guard); }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait LockData: Lock {
    /// What the lock protects.
    type Data: ?Sized;

    /// The data behind a guard.
    fn data<'g>(guard: &'g mut Self::Guard<'_>) -> &'g mut Self::Data;
}

/// How a lock that others also take directly is taken again after a notification: see [`ForeignLock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relock {
    /// The lock has a timed form of its own and queues in it, in slices: no polling. A stop is seen at the end of the slice; the first is
    /// [`Relock::SLICE`], and each next twice as long up to [`Relock::MAX_SLICE`], because the end of a slice is also the end of the place
    /// in a fair lock's queue.
    Timed,
    /// `try_lock` with growing pauses, at most [`Relock::MAX_PAUSE`]. Starves on a fair lock, which refuses `try_lock` while anyone queues.
    Backoff,
    /// The lock's own blocking form: fair where the lock is, but a stop that comes while it blocks is seen only when it has the lock (which
    /// it then releases). L1 holds then only as far as the lock's other users let go of it.
    Plain,
}

impl Relock {
    /// The first stay of a [`Relock::Timed`] lock in its own queue before it looks for a stop.
    pub const SLICE: Duration = Duration::from_millis(10);

    /// The longest such stay. A fair queue that moves on within this time starves no waiter.
    pub const MAX_SLICE: Duration = Duration::from_millis(320);

    /// The longest pause between two attempts of a [`Relock::Backoff`] lock.
    pub const MAX_PAUSE: Duration = Duration::from_millis(1);
}

/// A lock that others also take directly, so that no monitor sees its unlocks: how a wait on a [`Condvar`](crate::Condvar) takes it again.
///
/// | [`RELOCK`](ForeignLock::RELOCK) | waits | L1: bounded | L2: stopped means unlocked | latency of a stop during the relock |
/// |---|---|---|---|---|
/// | [`Timed`](Relock::Timed) | in the lock's own queue | yes | yes | 10 ms and as long again as the relock has lasted, at most 320 ms |
/// | [`Backoff`](Relock::Backoff) | polls | yes | yes | 1 ms |
/// | [`Plain`](Relock::Plain) | in the lock's own queue | while the others let go | yes | until the lock is free |
///
/// A stop that comes before the notification never touches the lock, whatever the policy. All three are a thread's: for a task there is
/// [`AsyncForeignLock`].
///
/// The adapters of this crate, both modes of a reader-writer lock alike (the reader's as [`Reading`]):
///
/// | lock | policy | fairness of the relock |
/// |---|---|---|
/// | std `Mutex`, `RwLock` | back-off | none; readers that overlap without a gap keep a writer out |
/// | `lock_api` locks that are timed: parking_lot's `Mutex`, `FairMutex`, `RwLock`, `ReentrantMutex` (one level) | timed | the lock's own, while its queue moves on within 320 ms |
/// | other `lock_api` locks (spin's) as [`Backoff`] | back-off | none |
/// | tokio's `Mutex`, `RwLock` | timed, place in the queue kept, so 10 ms always | first come, first served |
/// | your own | back-off, unless it says otherwise | |
///
/// A lock of your own needs nothing more than to say so: `impl ForeignLock for Spin {}`. One with a queue of its own does better to use it.
/// A ticket lock, fair and with neither a timed form nor a way to give a ticket back, is a plain one:
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering::{Acquire, Relaxed, Release}};
/// use std::time::Instant;
/// use unwedge::lock::{ForeignLock, Lock, Relock};
///
/// #[derive(Default)]
/// struct Ticket { next: AtomicU32, serving: AtomicU32 }
/// struct TicketGuard<'a>(&'a Ticket);
/// impl Drop for TicketGuard<'_> {
///     fn drop(&mut self) { self.0.serving.fetch_add(1, Release); }
/// }
/// impl Lock for Ticket {
///     type Guard<'a> = TicketGuard<'a>;
///     fn try_lock(&self) -> Option<TicketGuard<'_>> {
///         let serving = self.serving.load(Acquire);
///         self.next.compare_exchange(serving, serving.wrapping_add(1), Acquire, Relaxed).ok().map(|_| TicketGuard(self))
///     }
/// }
/// impl ForeignLock for Ticket {
///     const RELOCK: Relock = Relock::Plain;
///     fn lock_until(&self, _: Instant) -> Option<TicketGuard<'_>> {
///         let mine = self.next.fetch_add(1, Relaxed);
///         while self.serving.load(Acquire) != mine { std::thread::yield_now() } // a real one would park
///         Some(TicketGuard(self))
///     }
/// }
///
/// let lock = Ticket::default();
/// let guard = lock.lock_until(Instant::now());
/// assert!(guard.is_some() && lock.try_lock().is_none());
/// ```
pub trait ForeignLock: Lock {
    /// Which of the three ways this is.
    const RELOCK: Relock = Relock::Backoff;

    /// Takes the lock, waiting for it until `until` at the latest. A [`Relock::Plain`] lock ignores `until` and always returns a guard.
    ///
    /// Unless the lock says otherwise, by `try_lock` with growing pauses.
    fn lock_until(&self, until: Instant) -> Option<Self::Guard<'_>> {
        foreign::backoff_until(self, until)
    }

    /// Takes the lock again after a notification, unless `stopped` says that a stop was requested: what a wait calls.
    ///
    /// `None` means stopped, and the lock is not held. Unless the lock says otherwise, it does what [`RELOCK`](ForeignLock::RELOCK) says,
    /// through [`lock_until`](ForeignLock::lock_until) (timed, plain) or [`try_lock`](Lock::try_lock) (back-off). Say otherwise where the
    /// lock can look for a stop and keep its place in the queue.
    fn relock(&self, stopped: &dyn Fn() -> bool) -> Option<Self::Guard<'_>> {
        foreign::relock(self, stopped)
    }
}

/// A lock that others also take directly and that can be awaited: how a task's wait on a [`Condvar`](crate::Condvar)
/// ([`wait_async`](crate::Condvar::wait_async)) takes it again. A task must neither block nor poll, so it needs a lock that wakes it.
///
/// tokio's `Mutex` and `RwLock` are such locks, the `RwLock` in both modes ([`AsyncSharedLock`] is the reader's): first come, first served. A relock
/// keeps L1 and L2 with no latency: a stop wakes the task, which leaves the lock's queue.
///
/// A lock may hand itself over to the first in its queue, as tokio's do: then it is that task's before the task runs, and a task that nobody polls
/// keeps it. That is the lock's doing and none of a stop's. (A [`Monitor`](crate::Monitor) never hands its lock to a task.)
///
/// A lock of another crate joins in a wrapper of one's own, with its own future:
///
/// ```
/// # mod other { pub type Mutex<T> = tokio::sync::Mutex<T>; pub type MutexGuard<'a, T> = tokio::sync::MutexGuard<'a, T>; }
/// use unwedge::lock::{AsyncForeignLock, Lock};
///
/// struct Own<T>(other::Mutex<T>);
///
/// impl<T> Lock for Own<T> {
///     type Guard<'a> = other::MutexGuard<'a, T> where T: 'a;
///     fn try_lock(&self) -> Option<other::MutexGuard<'_, T>> { self.0.try_lock().ok() }
/// }
///
/// impl<T> AsyncForeignLock for Own<T> {
///     async fn lock_async(&self) -> other::MutexGuard<'_, T> { self.0.lock().await }
/// }
/// ```
///
/// Safe to implement: a wrong one may wait too long, never be unsound.
pub trait AsyncForeignLock: Lock {
    /// Takes the lock, waiting for it in the lock's own queue.
    ///
    /// # Cancel safety
    /// Dropping the future must leave the queue; a lock that was on its way to it must go to the next.
    fn lock_async(&self) -> impl Future<Output = Self::Guard<'_>>;
}

/// The reader's mode of an [`AsyncForeignLock`]: for [`Condvar::wait_shared_async`](crate::Condvar::wait_shared_async).
pub trait AsyncSharedLock: SharedLock {
    /// Takes the lock for reading, waiting for it in the lock's own queue.
    ///
    /// # Cancel safety
    /// As for [`AsyncForeignLock::lock_async`].
    fn lock_shared_async(&self) -> impl Future<Output = Self::SharedGuard<'_>>;
}
