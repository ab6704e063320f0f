//! An arena of type-stable slots: indices that never dangle.
//!
//! Chunk `k` holds `FIRST << k` slots, so that a slot never moves and an index leads to it in a few instructions. Slots that are given
//! back go to a free list. `len` only grows.

use std::sync::OnceLock;

use crate::sys::{ARENA_SHIFT, AcqRel, AtomicU32, LightMutex, Relaxed};

const FIRST: u32 = 1 << ARENA_SHIFT;
const CHUNKS: usize = 24;

/// Slots of one type. Index 0 is never given out, so that it can mean "none".
pub(crate) struct Arena<T: 'static> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
    /// One past the highest index that was ever given out.
    len: AtomicU32,
    free: LightMutex<Vec<u32>>,
    make: fn() -> T,
}

impl<T> Arena<T> {
    #[cfg(not(unwedge_loom))]
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Arena {
            chunks: [const { OnceLock::new() }; CHUNKS],
            len: AtomicU32::new(1),
            free: LightMutex::new(Vec::new()),
            make,
        }
    }

    /// In a model the first chunk is made at once: loom does not see that a `OnceLock` orders its making before its use.
    #[cfg(unwedge_loom)]
    pub(crate) fn new(make: fn() -> T) -> Self {
        let mut chunks = [const { OnceLock::new() }; CHUNKS];
        chunks[0] = OnceLock::from((0..FIRST).map(|_| make()).collect::<Box<[T]>>());
        Arena { chunks, len: AtomicU32::new(1), free: LightMutex::new(Vec::new()), make }
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
        &self.chunk(chunk)[at]
    }

    fn chunk(&'static self, chunk: usize) -> &'static [T] {
        self.chunks[chunk].get_or_init(|| (0..FIRST << chunk).map(|_| (self.make)()).collect())
    }

    /// A slot for the caller alone, until it gives it back.
    pub(crate) fn claim(&'static self) -> u32 {
        if let Some(index) = self.free.lock().pop() {
            return index;
        }
        // Ordering: AcqRel, partner of the read-modify-write in `scan`: see there.
        let index = self.len.fetch_add(1, AcqRel);
        assert!(Self::place(index).0 < CHUNKS, "more than a billion waits at once");
        index
    }

    /// Gives a slot back for others to claim.
    pub(crate) fn release(&'static self, index: u32) {
        self.free.lock().push(index);
    }

    /// Every slot that was ever given out, in use or not.
    ///
    /// A slot whose claim happens after this call's read of `len` is not among them; its claimer then sees everything that the caller did
    /// before this call (both are read-modify-writes of `len`).
    pub(crate) fn scan(&'static self) -> impl Iterator<Item = &'static T> {
        let len = self.len.fetch_add(0, AcqRel);
        (1..len).map(|index| self.get(index))
    }

    /// As [`scan`](Self::scan), for readers who need no such guarantee: each slot with its index. It makes nothing, so that a signal handler may call it: a chunk
    /// that is not made yet has nobody in it.
    pub(crate) fn look(&'static self) -> impl Iterator<Item = (u32, &'static T)> {
        let len = self.len.load(Relaxed);
        self.chunks.iter().enumerate().flat_map(move |(chunk, slots)| {
            let begin = (FIRST << chunk) - FIRST;
            let slots = if begin < len { slots.get() } else { None };
            slots
                .into_iter()
                .flatten()
                .zip(begin..len)
                .map(|(slot, index)| (index, slot))
                .filter(|(index, _)| *index != 0)
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
        self.chunks[chunk].get()?.get(at)
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
