//! Which of an arena's slots were given back: a bit for each, and the lowest one is taken first.
//!
//! So thousands that are claimed one after the other lie one after the other, in every life: a stop, which goes through the slots in their order, wakes tasks
//! in the order in which they were started, and memory is read as it lies. (A list, of which the last one in is the first one out, shuffled them from life to life,
//! until a stop of 10,000 tasks took half as long again.)
//!
//! # Invariants
//! - **No lock.** A `fork` may copy the process in the middle of any step here, and the thread that made it is not in the child: there some slots may
//!   not be found before one that lies lower is given back, but nothing is locked.
//! - **From.** No slot is free in a word before `from`, but where somebody is about to move `from` back. Who moves it on looks at the words that it
//!   passed once more, by a read-modify-write; who gives a slot back looks at `from` after its own. Of these two the later one sees the earlier.
//!
//! The model `free_set` runs this very code, and its twin that does not look once more loses a slot. In the other models the set is plain (`arena`).

use crate::sys::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed};

/// How many slots have their bits in one word.
pub(super) const BITS: u32 = 64;

/// By how many words `from` is moved on at the most: one claim does not pay for many that come after it. (Among very many slots of which few are free, now low
/// and now high, a claim looks at 64 of them in one load: 20,000 are some three hundred loads.)
const STRIDE: u32 = 16;

/// The bits of so many slots.
pub(super) type Word = AtomicU64;

/// See the head of this file. The words are the arena's: `word` gives the one of a number.
pub(super) struct FreeSet {
    from: AtomicU32,
}

impl FreeSet {
    pub(super) const fn new() -> Self {
        FreeSet { from: AtomicU32::new(0) }
    }

    /// Takes the lowest slot that is free in the first words; `words` says in how many.
    pub(super) fn take<'a>(&self, words: impl FnOnce() -> u32, word: impl Fn(u32) -> &'a Word) -> Option<u32> {
        // Ordering: Relaxed, it is where to begin.
        let from = self.from.load(Relaxed);
        let words = words();
        let found = (from..words).find_map(|at| Some((at, take_lowest(word(at))?)));
        let to = found.map_or(words, |(at, _)| at).min(from.saturating_add(STRIDE));
        if to > from {
            self.advance(from, to, word);
        }
        found.map(|(at, bit)| at * BITS + bit)
    }

    #[cold]
    fn advance<'a>(&self, from: u32, to: u32, word: impl Fn(u32) -> &'a Word) {
        // Ordering: Relaxed in both; the one between them is the partner of `give`: see "From".
        if self.from.compare_exchange(from, to, Relaxed, Relaxed).is_ok() {
            if let Some(missed) = (from..to).find(|at| word(*at).fetch_or(0, AcqRel) != 0) {
                self.from.fetch_min(missed, Relaxed);
            }
        }
    }

    /// Gives a slot back.
    pub(super) fn give<'a>(&self, slot: u32, word: impl Fn(u32) -> &'a Word) {
        let at = slot / BITS;
        // Ordering: Release, partner of the Acquire in `take_lowest`: what this occupant did is seen by the next one. Acquire, partner of the one in `advance`.
        word(at).fetch_or(1 << (slot % BITS), AcqRel);
        if self.from.load(Relaxed) > at {
            self.from.fetch_min(at, Relaxed);
        }
    }
}

/// Takes the lowest bit of a word that is set.
fn take_lowest(word: &Word) -> Option<u32> {
    let mut free = word.load(Relaxed);
    while free != 0 {
        let bit = free.trailing_zeros();
        // Ordering: Acquire, partner of the Release in `give`: every write of a word is a read-modify-write, so that each release leads to whoever reads a later one.
        let before = word.fetch_and(!(1 << bit), Acquire);
        if before & 1 << bit != 0 {
            return Some(bit);
        }
        free = before;
    }
    None
}
