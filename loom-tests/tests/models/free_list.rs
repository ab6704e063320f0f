//! The list of an arena's slots that were given back, without a lock: the shipped file (`src/registry/free.rs`), with atomics that loom sees.
//!
//! The other models have a plain list in its place. A failure shows as a slot that two have, or as a causality violation where an occupant does not see what
//! the one before it did.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use unwedge::model::thread;

use crate::common::{Failure, explore_as, fails};

/// What the shipped file stands on.
mod sys {
    pub(super) use loom::sync::atomic::{AtomicU32 as PlainU32, AtomicU64};
    pub(super) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
}

mod free {
    include!(concat!(env!("OUT_DIR"), "/free.rs"));
}

/// Whether the steps are not counted in this process. Not seen by loom.
static UNCOUNTED: AtomicBool = AtomicBool::new(false);

/// By how much a step changes the count.
fn one_step() -> u64 {
    u64::from(!UNCOUNTED.load(Ordering::Relaxed))
}

/// Slots 1 and 2, both free.
struct Slots {
    free: free::FreeList,
    next: [sys::PlainU32; 3],
    /// What the occupants write: one after the other.
    content: [UnsafeCell<u32>; 3],
    /// Who has a slot has said so. Not seen by loom.
    taken: [AtomicU32; 3],
}

impl Slots {
    fn new() -> Self {
        let slots = Slots {
            free: free::FreeList::new(),
            next: std::array::from_fn(|_| sys::PlainU32::new(0)),
            content: std::array::from_fn(|_| UnsafeCell::new(0)),
            taken: std::array::from_fn(|_| AtomicU32::new(0)),
        };
        for slot in [2, 1] {
            slots.free.push(slot, |at| &slots.next[at as usize]);
        }
        slots
    }

    fn claim(&self) -> Option<usize> {
        let slot = self.free.pop(|at| &self.next[at as usize])? as usize;
        assert_eq!(self.taken[slot].fetch_add(1, Ordering::Relaxed), 0, "two have one slot");
        self.content[slot].with_mut(|content| {
            // SAFETY: loom has looked whether anybody else has access.
            unsafe { *content += 1 }
        });
        Some(slot)
    }

    fn release(&self, slot: usize) {
        self.taken[slot].fetch_sub(1, Ordering::Relaxed);
        self.free.push(slot as u32, |at| &self.next[at as usize]);
    }
}

/// One claims both and gives one back, while another one claims what it can get.
fn claims() {
    let slots = Arc::new(Slots::new());
    let other = {
        let slots = slots.clone();
        thread::spawn(move || {
            let both = [slots.claim(), slots.claim()];
            if let Some(first) = both[0] {
                slots.release(first);
            }
            usize::from(both[1].is_some())
        })
    };
    let mine = usize::from(slots.claim().is_some()) + usize::from(slots.claim().is_some());
    let theirs = other.join().unwrap();
    let left = std::iter::from_fn(|| slots.claim()).count();
    assert_eq!(mine + theirs + left, 2, "a slot was lost");
}

#[test]
fn free_list() {
    explore_as("free_list", "L5", None, claims);
}

#[test]
fn twin_free_list_without_a_count() {
    fails(Failure::Panic("two have one slot"), None, || {
        UNCOUNTED.store(true, Ordering::Relaxed);
        claims();
    });
}
