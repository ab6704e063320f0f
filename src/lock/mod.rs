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
//!         (!self.0.swap(true, Acquire)).then_some(SpinGuard(self))
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

use std::time::Instant;

#[cfg(feature = "parking_lot")]
mod lock_api_04;
#[cfg(feature = "parking_lot_0_13")]
mod lock_api_05;
mod foreign;
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
pub trait LockData: Lock {
    /// What the lock protects.
    type Data: ?Sized;

    /// The data behind a guard.
    fn data<'g>(guard: &'g mut Self::Guard<'_>) -> &'g mut Self::Data;
}

/// How a lock that others also take directly is taken again after a notification: see [`ForeignLock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relock {
    /// The lock has a timed form of its own and queues in it: no polling. A stop is seen within [`Relock::SLICE`].
    Timed,
    /// `try_lock` with growing pauses, at most [`Relock::MAX_PAUSE`]. Starves on a fair lock, which refuses `try_lock` while anyone queues.
    Backoff,
    /// The lock's own blocking form: fair where the lock is, but a stop that comes while it blocks is seen only when it has the lock (which
    /// it then releases). L1 holds then only as far as the lock's other users let go of it.
    Plain,
}

/// A lock that others also take directly, so that no monitor sees its unlocks: how a wait on a [`Condvar`](crate::Condvar) takes it again.
///
/// | [`RELOCK`](ForeignLock::RELOCK) | waits | L1: bounded | L2: stopped means unlocked | latency of a stop during the relock |
/// |---|---|---|---|---|
/// | [`Timed`](Relock::Timed) | in the lock's own queue | yes | yes | 10 ms |
/// | [`Backoff`](Relock::Backoff) | polls | yes | yes | 1 ms |
/// | [`Plain`](Relock::Plain) | in the lock's own queue | while the others let go | yes | until the lock is free |
///
/// A stop that comes before the notification never touches the lock, whatever the policy.
pub trait ForeignLock: Lock {
    /// Which of the three ways this is.
    const RELOCK: Relock;

    /// Takes the lock, waiting for it until `until` at the latest. A [`Relock::Plain`] lock ignores `until` and always returns a guard.
    fn lock_until(&self, until: Instant) -> Option<Self::Guard<'_>>;
}
