//! What a daemon's authors need to model-check their own stop and restart with loom. Only with `--cfg unwedge_loom`.
//!
//! A model is a closure that [`check`] runs under every schedule that its bound allows. In it, use this module's [`Mutex`] as the lock of
//! monitors (a real lock inside a model gives false alarms) and [`thread`] for threads outside a domain. Time stands still until
//! [`advance`] moves it: a thread that calls it is a deadline that may come at any point.

mod lock;
#[doc(hidden)]
pub mod parts;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::sys;

pub use lock::{Guard, Mutex, ReadGuard, RwLock};

pub use loom::future::block_on;
pub use loom::thread;

/// Runs a model under every schedule with at most `preemptions` preemptions (`None`: under every schedule), and returns how many there were.
///
/// # Panics
/// Where the model does, or where it deadlocks.
pub fn check(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let count = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    executions.load(Ordering::Relaxed)
}

/// Now, on the model's clock.
#[must_use]
pub fn now() -> Instant {
    sys::now()
}

/// Moves the model's clock, and wakes whoever has a deadline.
pub fn advance(by: Duration) {
    sys::advance(by);
    crate::wait::waiter::wake_all();
}
