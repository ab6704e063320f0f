//! The adapters of `lock_api`'s locks, written once for its versions 0.4 and 0.5, whose types differ and whose methods agree.
//!
//! parking_lot's `Mutex`, `FairMutex`, `RwLock` and `ReentrantMutex` are these types, as are those of spin and others. A lock whose raw part
//! is timed on [`std::time::Instant`] (parking_lot's are) is taken again in its own queue, in slices; for one that is not (spin's) there
//! is [`Backoff`](super::Backoff), because an implementation for the one would overlap with that for the other.

/// Writes the adapters for the `lock_api` that the path names.
macro_rules! lock_api_adapters {
    ($api:path) => {
        use std::time::Instant;

        use $api as api;

        use crate::lock::{ForeignLock, Lock, LockData, Reading, Relock, SharedLock};

        /// parking_lot's `Mutex` and `FairMutex`, spin's `lock_api::Mutex`, and others.
        impl<R: api::RawMutex, T: ?Sized> Lock for api::Mutex<R, T> {
            type Guard<'a>
                = api::MutexGuard<'a, R, T>
            where
                R: 'a,
                T: 'a;

            fn try_lock(&self) -> Option<api::MutexGuard<'_, R, T>> {
                self.try_lock()
            }
        }

        impl<R: api::RawMutex, T: ?Sized> LockData for api::Mutex<R, T> {
            type Data = T;

            fn data<'g>(guard: &'g mut Self::Guard<'_>) -> &'g mut T {
                guard
            }
        }

        /// In its own queue, in slices: keeps L1 and L2, a stop is seen within 10 ms and as long again as the relock has lasted,
        /// 320 ms at most. As fair as the lock, while its queue moves on within 320 ms.
        impl<R: api::RawMutexTimed<Instant = Instant>, T: ?Sized> ForeignLock for api::Mutex<R, T> {
            const RELOCK: Relock = Relock::Timed;

            fn lock_until(&self, until: Instant) -> Option<api::MutexGuard<'_, R, T>> {
                self.try_lock_until(until)
            }
        }

        /// The writer's mode.
        ///
        /// A reader of spin's `RwLock` that is refused counts as one for a moment and can so refuse a writer while nobody holds the lock:
        /// over that lock a monitor's writer can stay asleep until the next unlock or stop. parking_lot's has no such moment.
        impl<R: api::RawRwLock, T: ?Sized> Lock for api::RwLock<R, T> {
            type Guard<'a>
                = api::RwLockWriteGuard<'a, R, T>
            where
                R: 'a,
                T: 'a;

            fn try_lock(&self) -> Option<api::RwLockWriteGuard<'_, R, T>> {
                self.try_write()
            }
        }

        impl<R: api::RawRwLock, T: ?Sized> SharedLock for api::RwLock<R, T> {
            type SharedGuard<'a>
                = api::RwLockReadGuard<'a, R, T>
            where
                R: 'a,
                T: 'a;

            fn try_lock_shared(&self) -> Option<api::RwLockReadGuard<'_, R, T>> {
                self.try_read()
            }
        }

        impl<R: api::RawRwLock, T: ?Sized> LockData for api::RwLock<R, T> {
            type Data = T;

            fn data<'g>(guard: &'g mut Self::Guard<'_>) -> &'g mut T {
                guard
            }
        }

        /// The writer's mode, in its own queue, in slices: keeps L1 and L2, a stop is seen within 10 ms and as long again as
        /// the relock has lasted, 320 ms at most. A writer of parking_lot's that queues shuts out later readers.
        impl<R: api::RawRwLockTimed<Instant = Instant>, T: ?Sized> ForeignLock for api::RwLock<R, T> {
            const RELOCK: Relock = Relock::Timed;

            fn lock_until(&self, until: Instant) -> Option<api::RwLockWriteGuard<'_, R, T>> {
                self.try_write_until(until)
            }
        }

        /// The reader's mode, in its own queue, in slices: keeps L1 and L2, latency as in the writer's mode. It waits behind a writer that
        /// queues: so a thread that holds a second read guard on the same lock while it waits can block that writer and itself, until the
        /// stop.
        impl<R: api::RawRwLockTimed<Instant = Instant>, T: ?Sized> ForeignLock for Reading<'_, api::RwLock<R, T>> {
            const RELOCK: Relock = Relock::Timed;

            fn lock_until(&self, until: Instant) -> Option<Self::Guard<'_>> {
                self.0.try_read_until(until)
            }
        }

        /// One level of it: a wait releases the level of the guard that it was given. Where the same thread holds another, the lock stays
        /// locked through the wait, and nobody else can take it to change the state and notify: the wait then lasts until the stop or its
        /// deadline. Its guards give shared access only (the data is a `Cell`, say), so there is no [`LockData`], and no
        /// [`Monitor::when`](crate::Monitor::when): [`LockData`] shows what to write in its place.
        impl<R: api::RawMutex, G: api::GetThreadId, T: ?Sized> Lock for api::ReentrantMutex<R, G, T> {
            type Guard<'a>
                = api::ReentrantMutexGuard<'a, R, G, T>
            where
                R: 'a,
                G: 'a,
                T: 'a;

            fn try_lock(&self) -> Option<api::ReentrantMutexGuard<'_, R, G, T>> {
                self.try_lock()
            }
        }

        /// In its own queue, in slices: keeps L1 and L2, a stop is seen within 10 ms and as long again as the relock has lasted,
        /// 320 ms at most. Takes one level, as the wait released one.
        impl<R: api::RawMutexTimed<Instant = Instant>, G: api::GetThreadId, T: ?Sized> ForeignLock
            for api::ReentrantMutex<R, G, T>
        {
            const RELOCK: Relock = Relock::Timed;

            fn lock_until(&self, until: Instant) -> Option<api::ReentrantMutexGuard<'_, R, G, T>> {
                self.try_lock_until(until)
            }
        }
    };
}

pub(super) use lock_api_adapters;
