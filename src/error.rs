//! The errors of this crate: small types that say one thing each.
//!
//! A stop, a timeout and an abandoned result are never folded into each other: who mistakes a stop for success, for damage or for fencing
//! does the wrong thing next, and daemons have done all three.

use std::{error, fmt};

/// The wait, or the operation, was ended by a stop of its domain.
///
/// It comes back *without* the lock, and nothing was tried to take it again (law L2): a caller may hold the lock and wait for this thread.
///
/// ```
/// # use unwedge::{Monitor, Stop};
/// let stop = Stop::new("mds.a");
/// let lock = Monitor::new("mds_lock", std::sync::Mutex::new(0), &stop);
/// stop.request("SIGTERM");
/// assert!(lock.lock().is_err());
/// assert_eq!(stop.reason().as_deref(), Some("SIGTERM"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped: a stop of this domain was requested")
    }
}

impl error::Error for Stopped {}

/// Who owed a result dropped its [`Completer`](crate::Completer) without completing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("abandoned: the completer was dropped without a result")
    }
}

impl error::Error for Abandoned {}

/// Why a wait with a deadline ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitError {
    /// A stop of the domain ended it.
    Stopped,
    /// The deadline came first.
    TimedOut,
}

impl WaitError {
    /// Whether a stop ended the wait.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self, WaitError::Stopped)
    }

    /// Whether the deadline ended the wait.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        matches!(self, WaitError::TimedOut)
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Stopped => Stopped.fmt(f),
            WaitError::TimedOut => f.write_str("timed out: the deadline came first"),
        }
    }
}

impl error::Error for WaitError {}

impl From<Stopped> for WaitError {
    fn from(_: Stopped) -> Self {
        WaitError::Stopped
    }
}

/// What a wait with a deadline gives back together with the lock: a timeout, unlike a stop, returns the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Timed<G> {
    /// The guard: the lock is held again.
    pub guard: G,
    /// Whether the deadline came before a notification.
    pub timed_out: bool,
}
