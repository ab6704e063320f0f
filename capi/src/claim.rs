//! What one call has at a time: a mutex that nobody waits for, so that it may be held by a call that waits for something else.
//!
//! # Invariant
//! - **Claimed.** The content is touched by who has set `busy` from false to true, until it sets it back.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

/// A content that is claimed.
pub(crate) struct Claimed<T> {
    busy: AtomicBool,
    content: UnsafeCell<T>,
}

// SAFETY: by `Claimed` one thread at a time touches the content, so that it need only be one that may go from thread to thread.
unsafe impl<T: Send> Sync for Claimed<T> {}

impl<T> Claimed<T> {
    pub(crate) const fn new(content: T) -> Self {
        Claimed { busy: AtomicBool::new(false), content: UnsafeCell::new(content) }
    }

    /// The content, unless another call has it.
    #[inline]
    pub(crate) fn claim(&self) -> Option<Claim<'_, T>> {
        // Ordering: Acquire, partner of the Release in `drop`: what the last one did is seen.
        if self.busy.swap(true, Acquire) { None } else { Some(Claim(self)) }
    }
}

/// The content, as long as this lives.
pub(crate) struct Claim<'a, T>(&'a Claimed<T>);

impl<T> Deref for Claim<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this claim has set `busy` (`Claimed`), and lends what it has for as long as itself is borrowed.
        unsafe { &*self.0.content.get() }
    }
}

impl<T> DerefMut for Claim<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and it is borrowed mutably.
        unsafe { &mut *self.0.content.get() }
    }
}

impl<T> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        // Ordering: Release, partner of the Acquire in `claim`.
        self.0.busy.store(false, Release);
    }
}
