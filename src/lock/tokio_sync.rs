//! The adapters of tokio's `Mutex` and `RwLock`.
//!
//! As foreign locks they are taken again by a thread that blocks: it polls the lock's own future, which queues fairly, and parks until
//! the future's waker or the deadline wakes it. Nothing of a runtime is needed, and inside one nothing panics, unlike tokio's own
//! `blocking_lock`; but the thread is blocked. A task awaits that future itself (`Condvar::wait_async`), inside the budget.
//!
//! Invariants:
//! - **budget**: the future is polled outside tokio's cooperative budget. Inside a task whose budget is used up it would stay pending
//!   with the lock already in its hands, for as long as this thread does not return to the runtime.
//! - **place**: one relock is one future from its first poll to its last, so it keeps its place in the lock's queue while it looks
//!   for a stop.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use tokio::{
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    task::unconstrained,
};

use crate::sys::{self, Parker};

use super::{AsyncForeignLock, AsyncSharedLock, ForeignLock, Lock, LockData, Reading, Relock, SharedLock};

/// Wakes the thread that polls.
struct Unpark(Parker);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls `lock` on this thread, parked in between, until it is ready or `next_look`, asked before every park, gives up: `None`, otherwise
/// the time of the next look.
fn drive<G>(lock: impl Future<Output = G>, mut next_look: impl FnMut() -> Option<Instant>) -> Option<G> {
    let mut lock: Pin<&mut _> = pin!(unconstrained(lock));
    let thread = Arc::new(Unpark(Parker::new()));
    let waker = Waker::from(thread.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(guard) = lock.as_mut().poll(&mut context) {
            return Some(guard);
        }
        // The waker is registered, so an unlock from here on unparks this thread, even before it parks. A park that ends early only polls
        // once more.
        let look = next_look()?;
        thread.0.park(Some(look));
    }
}

/// `lock`, given up at `until`.
fn drive_until<G>(lock: impl Future<Output = G>, until: Instant) -> Option<G> {
    drive(lock, || (sys::now() < until).then_some(until))
}

/// `lock`, given up when `stopped`, with a look every slice.
fn drive_unless<G>(lock: impl Future<Output = G>, stopped: &dyn Fn() -> bool) -> Option<G> {
    if stopped() {
        return None;
    }
    let guard = drive(lock, || (!stopped()).then(|| sys::now() + Relock::SLICE))?;
    (!stopped()).then_some(guard)
}

/// tokio's mutex; its fair queue is not used by a monitor, which has its own.
impl<T: ?Sized> Lock for Mutex<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.try_lock().ok()
    }
}

impl<T: ?Sized> LockData for Mutex<T> {
    type Data = T;

    fn data<'g>(guard: &'g mut Self::Guard<'_>) -> &'g mut T {
        guard
    }
}

/// In its own queue: keeps L1 and L2, a stop is seen within 10 ms; fair: a relock keeps its place however long it lasts.
impl<T: ?Sized> ForeignLock for Mutex<T> {
    const RELOCK: Relock = Relock::Timed;

    fn lock_until(&self, until: Instant) -> Option<MutexGuard<'_, T>> {
        drive_until(self.lock(), until)
    }

    fn relock(&self, stopped: &dyn Fn() -> bool) -> Option<MutexGuard<'_, T>> {
        drive_unless(self.lock(), stopped)
    }
}

/// First come, first served.
impl<T: ?Sized> AsyncForeignLock for Mutex<T> {
    async fn lock_async(&self) -> MutexGuard<'_, T> {
        self.lock().await
    }
}

/// The writer's mode of tokio's reader-writer lock.
impl<T: ?Sized> Lock for RwLock<T> {
    type Guard<'a>
        = RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.try_write().ok()
    }
}

impl<T: ?Sized> SharedLock for RwLock<T> {
    type SharedGuard<'a>
        = RwLockReadGuard<'a, T>
    where
        T: 'a;

    fn try_lock_shared(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.try_read().ok()
    }
}

impl<T: ?Sized> LockData for RwLock<T> {
    type Data = T;

    fn data<'g>(guard: &'g mut Self::Guard<'_>) -> &'g mut T {
        guard
    }
}

/// The writer's mode, in its own queue: keeps L1 and L2, a stop is seen within 10 ms; fair, and it keeps its place.
impl<T: ?Sized> ForeignLock for RwLock<T> {
    const RELOCK: Relock = Relock::Timed;

    fn lock_until(&self, until: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        drive_until(self.write(), until)
    }

    fn relock(&self, stopped: &dyn Fn() -> bool) -> Option<RwLockWriteGuard<'_, T>> {
        drive_unless(self.write(), stopped)
    }
}

/// The reader's mode, in its own queue: keeps L1 and L2, a stop is seen within 10 ms; fair, so behind a writer that queues.
impl<T: ?Sized> ForeignLock for Reading<'_, RwLock<T>> {
    const RELOCK: Relock = Relock::Timed;

    fn lock_until(&self, until: Instant) -> Option<Self::Guard<'_>> {
        drive_until(self.0.read(), until)
    }

    fn relock(&self, stopped: &dyn Fn() -> bool) -> Option<Self::Guard<'_>> {
        drive_unless(self.0.read(), stopped)
    }
}

/// The writer's mode; first come, first served.
impl<T: ?Sized> AsyncForeignLock for RwLock<T> {
    async fn lock_async(&self) -> RwLockWriteGuard<'_, T> {
        self.write().await
    }
}

/// First come, first served, so behind a writer that queues.
impl<T: ?Sized> AsyncSharedLock for RwLock<T> {
    async fn lock_shared_async(&self) -> RwLockReadGuard<'_, T> {
        self.read().await
    }
}
