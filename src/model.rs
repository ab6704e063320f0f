//! What a daemon's authors need to model-check their own stop and restart with loom. Only with `--cfg unwedge_loom`.
//!
//! A model is a closure that [`check`] runs under every schedule that its bound allows. In it, use this module's [`Mutex`] as the lock of
//! monitors (a real lock inside a model gives false alarms) and [`thread`] for threads outside a domain. Time stands still until
//! [`advance`] moves it: a thread that calls it is a deadline that may come at any point.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::lock::{ForeignLock, Lock, LockData, Relock, SharedLock};
use crate::sys;

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

/// The mutex of models: loom's lock, as a lock that a monitor can own.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A mutex in a model.
    pub fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    /// Takes the lock the naive way: a wait that no stop ends. For negative twins.
    ///
    /// # Panics
    /// If another thread panicked with it.
    pub fn lock(&self) -> Guard<'_, T> {
        Guard(self.0.lock().expect("no model goes on after a panic"))
    }
}

/// Guard of a [`Mutex`].
#[derive(Debug)]
pub struct Guard<'a, T>(loom::sync::MutexGuard<'a, T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Lock for Mutex<T> {
    type Guard<'a>
        = Guard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.0.try_lock().ok().map(Guard)
    }
}

impl<T> LockData for Mutex<T> {
    type Data = T;

    fn data<'g>(guard: &'g mut Guard<'_, T>) -> &'g mut T {
        guard
    }
}

impl<T> ForeignLock for Mutex<T> {
    const RELOCK: Relock = Relock::Plain;

    fn lock_until(&self, _until: Instant) -> Option<Guard<'_, T>> {
        Some(self.lock())
    }
}

/// The reader-writer lock of models.
#[derive(Debug, Default)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// A reader-writer lock in a model.
    pub fn new(value: T) -> Self {
        RwLock(loom::sync::RwLock::new(value))
    }
}

impl<T> Lock for RwLock<T> {
    type Guard<'a>
        = loom::sync::RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<Self::Guard<'_>> {
        self.0.try_write().ok()
    }
}

impl<T> SharedLock for RwLock<T> {
    type SharedGuard<'a>
        = loom::sync::RwLockReadGuard<'a, T>
    where
        T: 'a;

    fn try_lock_shared(&self) -> Option<Self::SharedGuard<'_>> {
        self.0.try_read().ok()
    }
}
