//! The list of an arena's slots that were given back: each has the index of the next one beside it.
//!
//! # Invariants
//! - **No lock.** A `fork` may copy the process in the middle of any step here, and the thread that made it is not in the child: there a slot may be lost, but
//!   nothing is locked.
//! - **Tagged.** The head of the list is the first index and a count of all steps that were made on it. Who takes the first slot has read which one comes after
//!   it; where the head is still the same, count included, that is still so. (A head to which four thousand million steps lead back between a read and its
//!   compare-and-swap would deceive it.)
//!
//! The model `free_list` runs this very code, and its twin without the count gives one slot to two. In the other models the list is plain (`arena`).

use crate::sys::{AcqRel, Acquire, AtomicU64, PlainU32, Relaxed};

/// See the head of this file. Index 0 means "none".
pub(super) struct FreeList(AtomicU64);

impl FreeList {
    pub(super) const fn new() -> Self {
        FreeList(AtomicU64::new(0))
    }

    /// Takes the first one out. `next`: where the index of the one after a slot stands.
    pub(super) fn pop<'a>(&self, next: impl Fn(u32) -> &'a PlainU32) -> Option<u32> {
        // Ordering: Acquire, here and in the step, partner of the AcqRel in `push`: what the last occupant did is seen, and which slot comes next.
        let mut head = self.0.load(Acquire);
        while head as u32 != 0 {
            let second = next(head as u32).load(Relaxed);
            match self.0.compare_exchange(head, after(head, second), AcqRel, Acquire) {
                Ok(_) => return Some(head as u32),
                Err(now) => head = now,
            }
        }
        None
    }

    /// Puts a slot before all others.
    pub(super) fn push<'a>(&self, slot: u32, next: impl Fn(u32) -> &'a PlainU32) {
        let mut head = self.0.load(Relaxed);
        loop {
            next(slot).store(head as u32, Relaxed);
            // Ordering: AcqRel, partner of the Acquire in `pop`.
            match self.0.compare_exchange(head, after(head, slot), AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// The head after one more step: "Tagged".
fn after(head: u64, first: u32) -> u64 {
    (head & !u64::from(u32::MAX)).wrapping_add(1 << 32) | u64::from(first)
}
