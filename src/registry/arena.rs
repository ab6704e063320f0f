//! An arena of type-stable slots: indices that never dangle.
//!
//! Chunk `k` holds `FIRST << k` slots, so that a slot never moves and an index leads to it in a few instructions. `len` only grows. Slots that are given
//! back are in a set (`free`), and the lowest one is claimed first.

use crate::sys::{ARENA_SHIFT, AcqRel, AtomicU32, Relaxed};

#[cfg(not(unwedge_loom))]
use super::free::{BITS, FreeSet, Word};
use super::link::Made;
#[cfg(unwedge_loom)]
use plain::{BITS, FreeSet, Word};

const FIRST: u32 = 1 << ARENA_SHIFT;
const CHUNKS: usize = 24;

/// Slots of one type. Index 0 is never given out, so that it can mean "none".
pub(crate) struct Arena<T: Sync + 'static> {
    chunks: [Made<Chunk<T>>; CHUNKS],
    /// One past the highest index that was ever given out.
    len: AtomicU32,
    /// Those that were given back.
    free: FreeSet,
    make: fn() -> T,
}

struct Chunk<T> {
    slots: Box<[T]>,
    /// A bit for each slot: whether it was given back.
    free: Box<[Word]>,
}

impl<T> Chunk<T> {
    fn new(chunk: u32, make: fn() -> T) -> Self {
        let places = FIRST << chunk;
        Chunk { slots: (0..places).map(|_| make()).collect(), free: (0..places / BITS).map(|_| Word::new(0)).collect() }
    }

    /// Whether a slot is given back, at this moment. Who is known to have been here before is not missed: its bit was taken off before that.
    fn is_free(&self, at: usize) -> bool {
        // Ordering: Relaxed, for readers.
        self.free[at / BITS as usize].load(Relaxed) & 1 << (at % BITS as usize) != 0
    }
}

impl<T: Sync> Arena<T> {
    #[cfg(not(unwedge_loom))]
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Arena { chunks: [const { Made::new() }; CHUNKS], len: AtomicU32::new(1), free: FreeSet::new(), make }
    }

    /// In a model the first chunk is made at once: what it is made of must be there before every thread of the model.
    #[cfg(unwedge_loom)]
    pub(crate) fn new(make: fn() -> T) -> Self {
        let chunks = [const { Made::new() }; CHUNKS];
        chunks[0].set(Chunk::new(0, make));
        Arena { chunks, len: AtomicU32::new(1), free: FreeSet::new(), make }
    }

    fn place(index: u32) -> (usize, usize) {
        let n = index + FIRST;
        let chunk = n.ilog2() - ARENA_SHIFT;
        (chunk as usize, (n - (FIRST << chunk)) as usize)
    }

    /// The slot at an index that [`claim`](Self::claim) gave out.
    #[inline]
    pub(crate) fn get(&'static self, index: u32) -> &'static T {
        let (chunk, at) = Self::place(index);
        &self.chunk(chunk).slots[at]
    }

    #[inline]
    fn chunk(&'static self, chunk: usize) -> &'static Chunk<T> {
        self.chunks[chunk].get_or_make(|| Chunk::new(chunk as u32, self.make))
    }

    /// The word with the bits of the slots from `BITS * number` on. (A chunk is a multiple of that.)
    fn word(&'static self, number: u32) -> &'static Word {
        let (chunk, at) = Self::place(number * BITS);
        &self.chunk(chunk).free[at / BITS as usize]
    }

    /// A slot for the caller alone, until it gives it back.
    pub(crate) fn claim(&'static self) -> u32 {
        self.claim_freed().unwrap_or_else(|| self.grow())
    }

    /// As [`claim`](Self::claim), of so many at the most, but for some that several claim at once.
    #[cfg(not(any(unwedge_loom, unwedge_asan)))]
    pub(crate) fn claim_within(&'static self, most: usize) -> Option<u32> {
        self.claim_freed().or_else(|| (self.count() < most).then(|| self.grow()))
    }

    fn claim_freed(&'static self) -> Option<u32> {
        self.free.take(|| self.len.load(Relaxed).div_ceil(BITS), |number| self.word(number))
    }

    fn grow(&'static self) -> u32 {
        // Ordering: AcqRel, partner of the read-modify-write in `scan`: see there.
        let index = self.len.fetch_add(1, AcqRel);
        assert!(Self::place(index).0 < CHUNKS, "more than a billion waits at once");
        index
    }

    /// Gives a slot back for others to claim.
    pub(crate) fn release(&'static self, index: u32) {
        self.free.give(index, |number| self.word(number));
    }

    /// Every slot that was ever given out, in use or not.
    ///
    /// A slot whose claim happens after this call's read of `len` is not among them; its claimer then sees everything that the caller did
    /// before this call (both are read-modify-writes of `len`).
    pub(crate) fn scan(&'static self) -> impl Iterator<Item = &'static T> + Clone {
        let len = self.len.fetch_add(0, AcqRel);
        (1..len).map(|index| self.get(index))
    }

    /// As [`scan`](Self::scan), for readers who need no such guarantee: each slot that was not given back, with its index. (Of thousands that were, nothing
    /// but their bits is looked at.) It makes nothing, so that a signal handler may call it: a chunk that is not made yet has nobody in it.
    pub(crate) fn look(&'static self) -> impl Iterator<Item = (u32, &'static T)> + Clone {
        let len = self.len.load(Relaxed);
        self.chunks.iter().enumerate().flat_map(move |(chunk, made)| {
            let begin = (FIRST << chunk) - FIRST;
            let made = if begin < len { made.get() } else { None };
            made.into_iter()
                .flat_map(|chunk| chunk.slots.iter().enumerate().map(|(at, slot)| (chunk.is_free(at), slot)))
                .zip(begin..len)
                .filter(|((is_free, _), index)| !is_free && *index != 0)
                .map(|((_, slot), index)| (index, slot))
        })
    }

    /// How many slots were ever given out, in use or not: for readers who make room.
    pub(crate) fn count(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    /// The slot at an index that may be any number, if it was ever made. For readers, as [`look`](Self::look).
    pub(crate) fn find(&'static self, index: u32) -> Option<&'static T> {
        if index == 0 || index >= self.len.load(Relaxed) {
            return None;
        }
        let (chunk, at) = Self::place(index);
        self.chunks[chunk].get()?.slots.get(at)
    }
}

/// A model's set: loom sees one step, for what it orders. The shipped one has a model of its own.
#[cfg(unwedge_loom)]
mod plain {
    use crate::sys::{AcqRel, AtomicU32, PlainU64, Relaxed};

    pub(super) const BITS: u32 = super::FIRST;

    pub(super) type Word = PlainU64;

    pub(super) struct FreeSet {
        steps: AtomicU32,
    }

    impl FreeSet {
        pub(super) fn new() -> Self {
            FreeSet { steps: AtomicU32::new(0) }
        }

        /// Of the first word, which has the slots of a model: how many there are is no step of this.
        pub(super) fn take<'a>(&self, _: impl FnOnce() -> u32, word: impl Fn(u32) -> &'a Word) -> Option<u32> {
            self.steps.fetch_add(1, AcqRel);
            let free = word(0).load(Relaxed);
            word(0).store(free & free.wrapping_sub(1), Relaxed);
            (free != 0).then(|| free.trailing_zeros())
        }

        pub(super) fn give<'a>(&self, slot: u32, word: impl Fn(u32) -> &'a Word) {
            self.steps.fetch_add(1, AcqRel);
            let word = word(slot / BITS);
            word.store(word.load(Relaxed) | 1 << (slot % BITS), Relaxed);
        }
    }
}

/// Declares the arena of a type: a static in what ships, one for each execution in a model.
macro_rules! arena {
    ($(#[$doc:meta])* $name:ident: $type:ty = $make:expr) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name() -> &'static $crate::registry::arena::Arena<$type> {
            #[cfg(not(unwedge_loom))]
            static ARENA: $crate::registry::arena::Arena<$type> = $crate::registry::arena::Arena::new($make);
            #[cfg(unwedge_loom)]
            loom::lazy_static! {
                static ref ARENA: $crate::registry::arena::Arena<$type> = $crate::registry::arena::Arena::new($make);
            }
            &ARENA
        }
    };
}
pub(crate) use arena;

#[cfg(all(test, not(unwedge_loom)))]
#[expect(clippy::disallowed_methods, reason = "threads of a test, as any user has them")]
mod tests {
    use std::thread;

    use super::Arena;
    use crate::sys::{AcqRel, PlainU32, Relaxed};

    /// Claimed and given back by several at once, a few at a time: nobody has a slot that is another's, and none is lost.
    #[test]
    fn a_slot_is_one_s_alone() {
        static SLOTS: Arena<PlainU32> = Arena::new(|| PlainU32::new(0));
        const EACH: u32 = 3;
        thread::scope(|scope| {
            for me in 1..=4 {
                scope.spawn(move || {
                    for _ in 0..50_000 {
                        let mine: Vec<_> = (0..EACH).map(|_| SLOTS.claim()).collect();
                        for index in &mine {
                            assert_eq!(SLOTS.get(*index).swap(me, AcqRel), 0, "it is somebody's");
                        }
                        for index in mine {
                            assert_eq!(SLOTS.get(index).swap(0, AcqRel), me);
                            SLOTS.release(index);
                        }
                    }
                });
            }
        });
        let len = SLOTS.len.load(Relaxed);
        // (Somewhat more than were ever claimed at once: who claims while another one moves on past what is given back at that moment finds nothing.)
        assert!(len <= 1 + 3 * 4 * EACH, "many more slots than were ever claimed at once: {len}");
        let mut all: Vec<_> = (1..len).map(|_| SLOTS.claim()).collect();
        all.sort_unstable();
        assert_eq!(all, (1..len).collect::<Vec<_>>(), "one was lost");
        assert_eq!(SLOTS.claim(), len);
    }

    /// In every chunk, and again when somebody has the slot next.
    #[test]
    fn a_reader_passes_over_what_was_given_back() {
        static SLOTS: Arena<PlainU32> = Arena::new(|| PlainU32::new(0));
        let seen = || SLOTS.look().map(|(index, _)| index).collect::<Vec<_>>();
        let all: Vec<_> = (0..1_000).map(|_| SLOTS.claim()).collect();
        assert_eq!(seen(), all);
        let (kept, given): (Vec<_>, Vec<_>) = all.iter().partition(|index| *index % 7 == 0);
        given.iter().for_each(|index| SLOTS.release(*index));
        assert_eq!(seen(), kept);
        given.iter().for_each(|_| _ = SLOTS.claim());
        assert_eq!(seen(), all);
    }
}
