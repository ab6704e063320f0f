//! The locks of models.
//!
//! loom's own mutex is not fit for `try_lock`: a thread that is about to try it is blocked when another one takes it, which gives false
//! deadlocks. These are a modelled flag whose unlock is one release store and no more, so that a proof that needs more of an unlock fails.
//!
//! # Invariants
//! - **Flag.** Who changed `state` from 0 to `WRITER` may touch the data until it stores 0; who added a reader may read them until it takes
//!   the reader off. loom's cell checks that.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use loom::cell::{ConstPtr, MutPtr, UnsafeCell};
use loom::sync::atomic::AtomicU32;

use super::end::Held;
use crate::lock::{AsyncForeignLock, ForeignLock, Lock, LockData, Relock, SharedLock};
use crate::sys::{AcqRel, Acquire, Relaxed, Release};

const WRITER: u32 = u32::MAX;

#[derive(Debug)]
struct Flag {
    state: AtomicU32,
    /// How many block the naive way: only then does an unlock do more than its store. Not modelled.
    blocked: AtomicUsize,
    gate: loom::sync::Mutex<()>,
    freed: loom::sync::Condvar,
    /// How many tasks wait for the lock: again, only then does an unlock do more. Not modelled.
    awaited: AtomicUsize,
    wakers: loom::sync::Mutex<Vec<Waker>>,
}

impl Flag {
    fn new() -> Self {
        Flag {
            state: AtomicU32::new(0),
            blocked: AtomicUsize::new(0),
            gate: loom::sync::Mutex::new(()),
            freed: loom::sync::Condvar::new(),
            awaited: AtomicUsize::new(0),
            wakers: loom::sync::Mutex::new(Vec::new()),
        }
    }

    fn try_write(&self) -> bool {
        self.state.compare_exchange(0, WRITER, Acquire, Acquire).is_ok()
    }

    fn try_read(&self) -> bool {
        let mut state = self.state.load(Acquire);
        while state != WRITER {
            match self.state.compare_exchange(state, state + 1, Acquire, Acquire) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    fn write(&self) {
        if self.try_write() {
            return;
        }
        self.blocked.fetch_add(1, Relaxed);
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.try_write() {
            gate = self.freed.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        self.blocked.fetch_sub(1, Relaxed);
    }

    fn freed(&self) {
        if self.blocked.load(Relaxed) != 0 {
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.freed.notify_all();
        }
        if self.awaited.load(Relaxed) != 0 {
            let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// One poll of a task that waits for the lock: it tries again when it is woken by an unlock.
    fn poll_write(&self, cx: &Context<'_>) -> Poll<()> {
        if self.try_write() {
            return Poll::Ready(());
        }
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(cx.waker().clone());
        if self.try_write() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn unlock_write(&self) {
        self.state.store(0, Release);
        self.freed();
    }

    fn unlock_read(&self) {
        self.state.fetch_sub(1, AcqRel);
        self.freed();
    }
}

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident, $pointer:ident, $unlock:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<'a, T> {
            // `None` only inside `drop`: loom's pointer ends its access before the flag is cleared.
            data: Option<$pointer<T>>,
            flag: &'a Flag,
            _held: Held,
        }

        impl<T> Deref for $name<'_, T> {
            type Target = T;

            fn deref(&self) -> &T {
                let Some(data) = &self.data else { unreachable!("a guard is empty only inside its drop") };
                // SAFETY: "Flag": the guard exists between the lock and the unlock.
                unsafe { data.deref() }
            }
        }

        impl<T> Drop for $name<'_, T> {
            fn drop(&mut self) {
                self.data = None;
                self.flag.$unlock();
            }
        }
    };
}

guard!(
    /// Guard of a [`Mutex`], or of a [`RwLock`] that is held exclusively.
    Guard, MutPtr, unlock_write
);
guard!(
    /// Guard of a [`RwLock`] that is held for reading.
    ReadGuard, ConstPtr, unlock_read
);

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        let Some(data) = &self.data else { unreachable!("a guard is empty only inside its drop") };
        // SAFETY: "Flag": the guard exists between the lock and the unlock, and is borrowed exclusively.
        unsafe { data.deref() }
    }
}

/// The mutex of models.
#[derive(Debug)]
pub struct Mutex<T> {
    flag: Flag,
    data: UnsafeCell<T>,
}

// SAFETY: "Flag": one guard at a time reaches the data, so they move between threads but are not shared.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: it owns the data.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// A mutex in a model.
    pub fn new(value: T) -> Self {
        Mutex { flag: Flag::new(), data: UnsafeCell::new(value) }
    }

    /// Takes the lock the naive way, as a thread does that no stop reaches: for the broken twins of models.
    pub fn lock(&self) -> Guard<'_, T> {
        self.flag.write();
        Guard { data: Some(self.data.get_mut()), flag: &self.flag, _held: Held::new() }
    }
}

impl<T> Lock for Mutex<T> {
    type Guard<'a>
        = Guard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.flag.try_write().then(|| Guard { data: Some(self.data.get_mut()), flag: &self.flag, _held: Held::new() })
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

/// Counts a task that waits for the lock.
struct Awaited<'a>(&'a Flag);

impl<'a> Awaited<'a> {
    fn new(flag: &'a Flag) -> Self {
        flag.awaited.fetch_add(1, Relaxed);
        Awaited(flag)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Relaxed);
    }
}

/// An unlock wakes all who wait: in no order, so that every one is explored.
impl<T> AsyncForeignLock for Mutex<T> {
    async fn lock_async(&self) -> Guard<'_, T> {
        let awaited = Awaited::new(&self.flag);
        poll_fn(|cx| awaited.0.poll_write(cx)).await;
        Guard { data: Some(self.data.get_mut()), flag: &self.flag, _held: Held::new() }
    }
}

/// The reader-writer lock of models.
#[derive(Debug)]
pub struct RwLock<T> {
    flag: Flag,
    data: UnsafeCell<T>,
}

// SAFETY: "Flag": readers share the data, a writer has them alone.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}
// SAFETY: it owns the data.
unsafe impl<T: Send> Send for RwLock<T> {}

impl<T> RwLock<T> {
    /// A reader-writer lock in a model.
    pub fn new(value: T) -> Self {
        RwLock { flag: Flag::new(), data: UnsafeCell::new(value) }
    }
}

impl<T> Lock for RwLock<T> {
    type Guard<'a>
        = Guard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.flag.try_write().then(|| Guard { data: Some(self.data.get_mut()), flag: &self.flag, _held: Held::new() })
    }
}

impl<T> SharedLock for RwLock<T> {
    type SharedGuard<'a>
        = ReadGuard<'a, T>
    where
        T: 'a;

    fn try_lock_shared(&self) -> Option<ReadGuard<'_, T>> {
        self.flag.try_read().then(|| ReadGuard { data: Some(self.data.get()), flag: &self.flag, _held: Held::new() })
    }
}

impl<T> LockData for RwLock<T> {
    type Data = T;

    fn data<'g>(guard: &'g mut Guard<'_, T>) -> &'g mut T {
        guard
    }
}
