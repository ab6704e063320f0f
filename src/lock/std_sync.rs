//! The adapters of the standard library's `Mutex` and `RwLock`.
//!
//! **Poison is passed over.** A lock that a panicking thread poisoned is taken like any other and its guard is given out: the panic of one
//! thread must wedge neither the others nor the stop, and the phase that saves what can be saved needs the lock. Nothing is cleared
//! either: who takes the lock directly sees the poison as ever, and `is_poisoned` tells.
//!
//! As foreign locks they are taken again by bounded back-off, because they have no timed form, and their blocking form would put the stop
//! at the mercy of who holds the lock. Both are unfair: `try_lock` overtakes who queues, only a waiting writer or reader of an `RwLock`
//! shuts out later readers.

use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, TryLockResult};

use super::{ForeignLock, Lock, LockData, Reading, SharedLock};

/// The guard, poisoned or not; `None` where the lock is held.
fn passing_poison<G>(result: TryLockResult<G>) -> Option<G> {
    match result {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A poisoned mutex is taken all the same.
impl<T: ?Sized> Lock for Mutex<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        passing_poison(self.try_lock())
    }
}

impl<T: ?Sized> LockData for Mutex<T> {
    type Data = T;

    fn data<'g>(guard: &'g mut Self::Guard<'_>) -> &'g mut T {
        guard
    }
}

/// By back-off: keeps L1 and L2, a stop is seen within 1 ms; unfair.
impl<T: ?Sized> ForeignLock for Mutex<T> {}

/// The writer's mode. A poisoned lock is taken all the same.
impl<T: ?Sized> Lock for RwLock<T> {
    type Guard<'a>
        = RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn try_lock(&self) -> Option<RwLockWriteGuard<'_, T>> {
        passing_poison(self.try_write())
    }
}

impl<T: ?Sized> SharedLock for RwLock<T> {
    type SharedGuard<'a>
        = RwLockReadGuard<'a, T>
    where
        T: 'a;

    fn try_lock_shared(&self) -> Option<RwLockReadGuard<'_, T>> {
        passing_poison(self.try_read())
    }
}

impl<T: ?Sized> LockData for RwLock<T> {
    type Data = T;

    fn data<'g>(guard: &'g mut Self::Guard<'_>) -> &'g mut T {
        guard
    }
}

/// The writer's mode, by back-off: keeps L1 and L2, a stop is seen within 1 ms; unfair, and readers that overlap without a gap keep it out.
impl<T: ?Sized> ForeignLock for RwLock<T> {}

/// The reader's mode, by back-off: keeps L1 and L2, a stop is seen within 1 ms; it lets writers that queue go first.
impl<T: ?Sized> ForeignLock for Reading<'_, RwLock<T>> {}
