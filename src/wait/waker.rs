//! Where a task's waker lies while it waits: put there by the task, taken by whoever wakes it.
//!
//! The algorithm is that of `futures::task::AtomicWaker`. What differs: wakers are cloned and dropped outside, so that a panic in one leaves
//! the cell as it was (L6).
//!
//! | state | meaning | who may touch the waker |
//! |---|---|---|
//! | 0 | at rest | nobody |
//! | `PUTTING` | the owner puts one in | owner |
//! | `TAKING` | somebody takes it out | who set the bit |
//! | `PUTTING + TAKING` | somebody came while the owner was putting: the owner takes it out again and wakes it | owner |

use std::task::Waker;

use crate::sys::{self, AcqRel, Acquire, AtomicU32, UnsafeCell};

const PUTTING: u32 = 1;
const TAKING: u32 = 2;

/// A cell for one waker.
pub(super) struct WakerCell {
    state: AtomicU32,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the state says who may touch the waker, one at a time (table above), and a `Waker` may be used on any thread.
unsafe impl Sync for WakerCell {}

impl WakerCell {
    #[cfg(not(unwedge_loom))]
    pub(super) const fn new() -> Self {
        WakerCell { state: AtomicU32::new(0), waker: UnsafeCell::new(None) }
    }

    #[cfg(unwedge_loom)]
    pub(super) fn new() -> Self {
        WakerCell { state: AtomicU32::new(0), waker: UnsafeCell::new(None) }
    }

    /// Puts a waker in, and wakes it at once if somebody is just taking one. By the owner alone.
    pub(super) fn put(&self, waker: &Waker) {
        let mut new = Some(waker.clone());
        // Ordering: Acquire, partner of the Release in `take`: what the taker did to the cell is over.
        if self.state.compare_exchange(0, PUTTING, AcqRel, Acquire).is_ok() {
            self.waker.with_mut(|place| {
                // SAFETY: `PUTTING` was set by us.
                std::mem::swap(unsafe { &mut *place }, &mut new);
            });
            // Ordering: Release, partner of the Acquire in `take`.
            if self.state.compare_exchange(PUTTING, 0, AcqRel, Acquire).is_ok() {
                // `new` is the old one now: dropped here.
                return;
            }
            let missed = self.waker.with_mut(|place| {
                // SAFETY: `PUTTING` was set by us, and who set `TAKING` leaves the rest to us.
                unsafe { &mut *place }.take()
            });
            self.state.swap(0, AcqRel);
            drop(new);
            new = missed;
        } else {
            // Who takes has a few steps left. The task will be polled again at once, and may come back here until they are done.
            sys::yield_now();
        }
        if let Some(waker) = new {
            super::waiter::wake(waker);
        }
    }

    /// Takes the waker out, if one is there. If the owner is just putting one, the owner will wake it.
    pub(super) fn take(&self) -> Option<Waker> {
        // Ordering: Acquire, partner of the Release in `put`: the waker is seen.
        if self.state.fetch_or(TAKING, AcqRel) != 0 {
            return None;
        }
        let waker = self.waker.with_mut(|place| {
            // SAFETY: the state was 0 and we set `TAKING`.
            unsafe { &mut *place }.take()
        });
        // Ordering: Release, partner of the Acquire in `put`.
        self.state.fetch_and(!TAKING, AcqRel);
        waker
    }
}
