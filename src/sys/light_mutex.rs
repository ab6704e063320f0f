//! A mutex for critical sections of a few instructions, but for a heavy barrier in one of a thousand, whose unlock is a plain store.
//!
//! The word says whether it is locked, `sleepers` how many may sleep. Who finds it locked looks again for some microseconds, longer than any
//! section lasts whose holder runs; then the holder was taken off its processor, and sleeping is right. An unlock stores, and looks for sleepers: between the
//! two there must be a barrier, which would cost as much as the whole rest. The sleeper pays for it ([`fence`](super::fence)).
//!
//! # No lost wake-up
//! A sleeper counts itself, passes the heavy barrier, and then looks at the word (the futex does). Who unlocks stores the word, passes the light one, and then
//! looks at the count. By "Asymmetric" the sleeper finds the word free, or the unlocker finds the sleeper. One wake-up wakes one sleeper; who takes the lock
//! meanwhile unlocks in turn, and looks again.
//!
//! The model `light_mutex` runs this very code, and its twin without the barriers fails.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::{Acquire, AtomicU32, Futex, MutPtr, Relaxed, Release, UnsafeCell, heavy, light, spin_looks};

const FREE: u32 = 0;
const LOCKED: u32 = 1;

/// See the head of this file. No foreign code may run under it (L6), so that a panic under it is a defect of this crate.
pub(crate) struct LightMutex<T> {
    word: AtomicU32,
    sleepers: AtomicU32,
    futex: Futex,
    value: UnsafeCell<T>,
}

// SAFETY: the word lets one thread at a time to the value ("Locked" in `lock`), so `Send` is enough.
unsafe impl<T: Send> Sync for LightMutex<T> {}

/// Proof that it is locked.
pub(crate) struct LightGuard<'a, T> {
    mutex: &'a LightMutex<T>,
    /// Given up before the unlock. In a model it is what sees that nobody else has one.
    value: ManuallyDrop<MutPtr<T>>,
}

impl<T> LightMutex<T> {
    #[cfg(not(unwedge_loom))]
    pub(crate) const fn new(value: T) -> Self {
        LightMutex {
            word: AtomicU32::new(FREE),
            sleepers: AtomicU32::new(0),
            futex: Futex::new(),
            value: UnsafeCell::new(value),
        }
    }

    #[cfg(unwedge_loom)]
    pub(crate) fn new(value: T) -> Self {
        LightMutex {
            word: AtomicU32::new(FREE),
            sleepers: AtomicU32::new(0),
            futex: Futex::new(),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> LightGuard<'_, T> {
        if !self.try_word() {
            self.lock_slow();
        }
        LightGuard { mutex: self, value: ManuallyDrop::new(self.value.get_mut()) }
    }

    /// "Locked": between this and the store in the guard's drop nobody else gets here.
    #[inline]
    fn try_word(&self) -> bool {
        // Ordering: Acquire, partner of the Release in the guard's drop: what was done under the lock is seen.
        self.word.compare_exchange(FREE, LOCKED, Acquire, Relaxed).is_ok()
    }

    #[cold]
    fn lock_slow(&self) {
        for _ in 0..spin_looks() {
            std::hint::spin_loop();
            if self.word.load(Relaxed) == FREE && self.try_word() {
                return;
            }
        }
        // Ordering: Relaxed in both, the barrier does it: see "No lost wake-up".
        self.sleepers.fetch_add(1, Relaxed);
        heavy();
        while !self.try_word() {
            self.futex.wait(&self.word, LOCKED);
        }
        self.sleepers.fetch_sub(1, Relaxed);
    }
}

impl<T> Deref for LightGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: "Locked": this guard's thread alone may touch the value, and the borrow of the guard is shared.
        unsafe { MutPtr::deref(&self.value) }
    }
}

impl<T> DerefMut for LightGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: "Locked", and the borrow of the guard is exclusive.
        unsafe { MutPtr::deref(&self.value) }
    }
}

impl<T> Drop for LightGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.value) };
        // Ordering: Release, partner of the Acquire in `try_word`.
        self.mutex.word.store(FREE, Release);
        light();
        if self.mutex.sleepers.load(Relaxed) != 0 {
            self.mutex.futex.wake_one(&self.mutex.word);
        }
    }
}
