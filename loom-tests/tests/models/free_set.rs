//! Which of an arena's slots were given back, without a lock: the shipped file (`src/registry/free.rs`), with atomics that loom sees.
//!
//! The other models have a plain set in its place. A failure shows as a slot that two have, as one that is lost, or as a causality violation where an
//! occupant does not see what the one before it did.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use unwedge::model::thread;

use crate::common::{Failure, explore_as, fails};

/// What the shipped file stands on.
mod sys {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64};
    pub(super) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
}

mod free {
    include!(concat!(env!("OUT_DIR"), "/free.rs"));
}

/// Whether who moves `from` on looks no more at what it passed, in this process. Not seen by loom.
static HASTY: AtomicBool = AtomicBool::new(false);

/// A word that who moves `from` on has passed.
struct LookAgain<'a>(&'a sys::AtomicU64);

impl LookAgain<'_> {
    fn fetch_or(&self, nothing: u64, order: Ordering) -> u64 {
        if HASTY.load(Ordering::Relaxed) { 0 } else { self.0.fetch_or(nothing, order) }
    }
}

/// How many slots there are. Each has a word of its own.
const SLOTS: usize = 2;

/// Slots that are all free.
struct Slots {
    free: free::FreeSet,
    words: [sys::AtomicU64; SLOTS],
    /// What the occupants write: one after the other.
    content: [UnsafeCell<u32>; SLOTS],
    /// Who has a slot has said so. Not seen by loom.
    taken: [AtomicU32; SLOTS],
}

impl Slots {
    fn new() -> Self {
        Slots {
            free: free::FreeSet::new(),
            words: std::array::from_fn(|_| sys::AtomicU64::new(1)),
            content: std::array::from_fn(|_| UnsafeCell::new(0)),
            taken: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    fn claim(&self) -> Option<usize> {
        let slot = (self.free.take(|| SLOTS as u32, |word| &self.words[word as usize])? / free::BITS) as usize;
        assert_eq!(self.taken[slot].fetch_add(1, Ordering::Relaxed), 0, "two have one slot");
        self.content[slot].with_mut(|content| {
            // SAFETY: loom has looked whether anybody else has access.
            unsafe { *content += 1 }
        });
        Some(slot)
    }

    fn release(&self, slot: usize) {
        self.taken[slot].fetch_sub(1, Ordering::Relaxed);
        self.free.give(slot as u32 * free::BITS, |word| &self.words[word as usize]);
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

/// One gives its slot back while another one passes that slot's word.
fn passes() {
    let slots = Arc::new(Slots::new());
    let first = slots.claim().unwrap();
    let other = {
        let slots = slots.clone();
        thread::spawn(move || slots.claim().is_some())
    };
    slots.release(first);
    let theirs = usize::from(other.join().unwrap());
    let left = std::iter::from_fn(|| slots.claim()).count();
    assert_eq!(theirs + left, 2, "a slot was lost");
}

#[test]
fn free_set() {
    explore_as("free_set", "L5", None, claims);
}

#[test]
fn free_set_moves_on() {
    explore_as("free_set_moves_on", "L5", None, passes);
}

#[test]
fn twin_free_set_without_a_second_look() {
    fails(Failure::Panic("a slot was lost"), None, || {
        HASTY.store(true, Ordering::Relaxed);
        passes();
    });
}
