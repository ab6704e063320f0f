//! Memory of cells: a thread keeps some for its next completions, so that one that is soon over costs as much as its stores; the others are the process's.
//!
//! Blocks of one size, for every cell that fits; a larger one goes through the allocator. Nothing here knows what lies in a block.
//!
//! Why they are not the allocator's: a task that is started has a result that lives for as long as nobody has said whether it is wanted. Of thousands of tasks
//! each such cell would lie between two of the runtime's, and leave a hole there, in which the next life's tasks were put in no order: they ended a third slower.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;

use crate::sys::{PlainU32, PlainU64, Relaxed};

/// How many words a block has room for.
const WORDS: usize = 31;

/// Room for what most completions carry: a number, a buffer with its length, an error.
#[repr(C, align(64))]
pub(crate) struct Block {
    /// Words that may be written through a shared reference; a cell is made in them by who has the block, and by nobody else.
    room: [PlainU64; WORDS],
    /// Its place among the process's; 0 for one of the allocator's.
    index: PlainU32,
}

impl Block {
    const fn new() -> Self {
        Block { room: [const { PlainU64::new(0) }; WORDS], index: PlainU32::new(0) }
    }
}

/// Whether a `T` lies in a block.
const fn fits<T>() -> bool {
    size_of::<T>() <= std::mem::offset_of!(Block, index) && align_of::<T>() <= align_of::<Block>()
}

/// A block with nothing in it, the holder's alone.
struct Empty(NonNull<Block>);

impl Empty {
    #[cold]
    fn new() -> Self {
        pool::claim().unwrap_or_else(|| Empty(NonNull::from(Box::leak(Box::new(Block::new())))))
    }

    fn into_raw(self) -> NonNull<Block> {
        ManuallyDrop::new(self).0
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        // SAFETY: it lives until it is given back here, or for good.
        let index = unsafe { self.0.as_ref() }.index.load(Relaxed);
        if index == 0 {
            // SAFETY: `new` leaked this box, and its holder is the only one who makes a box of it again.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        } else {
            pool::release(index);
        }
    }
}

/// Memory for one `T`, with nothing in it, to be given to [`give_back`] as a `T` again.
#[inline]
pub(super) fn take<T>() -> NonNull<T> {
    if const { fits::<T>() } {
        // The room is what comes first in it.
        kept::take().unwrap_or_else(Empty::new).into_raw().cast()
    } else {
        NonNull::from(Box::leak(Box::<T>::new_uninit())).cast()
    }
}

/// Gives memory back. What is in it is not dropped.
///
/// # Safety
/// It came from [`take`] as a `T`, nobody else has given it back, and nobody touches it any more.
#[inline]
pub(super) unsafe fn give_back<T>(place: NonNull<T>) {
    if const { fits::<T>() } {
        // What `take` had of it, whole, the index included: the pointer is of the block.
        kept::keep(Empty(place.cast()));
    } else {
        // SAFETY: `take` leaked a box of a `T`, and the caller is the only one who makes a box of it again.
        drop(unsafe { Box::from_raw(place.as_ptr().cast::<MaybeUninit<T>>()) });
    }
}

#[cfg(not(any(unwedge_loom, unwedge_asan)))]
mod pool {
    use std::ptr::NonNull;

    use super::{Block, Empty};
    use crate::registry::arena::arena;
    use crate::sys::Relaxed;

    /// The most that the process keeps: 4 MiB, eight chunks of an arena, with room in the last one for who claims at the same time. What is needed beyond is the
    /// allocator's.
    pub(super) const MOST: usize = (1 << 14) - 128;

    arena!(
        /// Memory of cells.
        blocks: Block = Block::new
    );

    pub(super) fn claim() -> Option<Empty> {
        let index = blocks().claim_within(MOST)?;
        let block = blocks().get(index);
        block.index.store(index, Relaxed);
        Some(Empty(NonNull::from(block)))
    }

    pub(super) fn release(index: u32) {
        blocks().release(index);
    }
}

#[cfg(not(any(unwedge_loom, unwedge_asan)))]
mod kept {
    use std::cell::Cell;

    use super::Empty;

    /// The most that a thread keeps: 4 KiB.
    const MOST: usize = 16;

    struct Spare {
        /// The first `count` have one.
        blocks: [Cell<Option<Empty>>; MOST],
        count: Cell<usize>,
    }

    std::thread_local! {
        static SPARE: Spare = const { Spare { blocks: [const { Cell::new(None) }; MOST], count: Cell::new(0) } };
    }

    /// One that this thread has kept.
    #[inline]
    pub(super) fn take() -> Option<Empty> {
        SPARE
            .try_with(|spare| {
                let last = spare.count.get().checked_sub(1)?;
                spare.count.set(last);
                spare.blocks.get(last)?.take()
            })
            .ok()?
    }

    /// Keeps one, unless this thread has kept enough or is at its end.
    #[inline]
    pub(super) fn keep(block: Empty) {
        // (What the closure does not use it drops, and so does one that is not called.)
        let _ = SPARE.try_with(|spare| {
            let count = spare.count.get();
            if let Some(place) = spare.blocks.get(count) {
                place.set(Some(block));
                spare.count.set(count + 1);
            }
        });
    }
}

/// Where it is looked for that memory is touched after it was given back, the allocator is to know of every block; and loom of every cell.
#[cfg(any(unwedge_loom, unwedge_asan))]
mod pool {
    use super::Empty;

    pub(super) fn claim() -> Option<Empty> {
        None
    }

    pub(super) fn release(_: u32) {}
}

/// As above.
#[cfg(any(unwedge_loom, unwedge_asan))]
mod kept {
    use super::Empty;

    pub(super) fn take() -> Option<Empty> {
        None
    }

    pub(super) fn keep(block: Empty) {
        drop(block);
    }
}

#[cfg(all(test, not(unwedge_loom), not(unwedge_asan)))]
mod tests {
    use super::pool::{MOST, blocks};
    use super::{WORDS, fits};
    use crate::completion::{Completer, Completion};
    use crate::registry::domain::DomainRef;

    fn completion(domain: DomainRef) -> (Completer<u64>, Completion<u64>) {
        Completion::new_in("read", domain)
    }

    /// Else it would be written over what lies beside the block.
    #[test]
    fn what_is_too_large_or_too_aligned_is_not_put_into_a_block() {
        #[repr(align(128))]
        struct Aligned(#[expect(dead_code, reason = "its place is what counts")] u8);
        assert!(fits::<u8>() && fits::<[u64; WORDS]>());
        assert!(!fits::<[u64; WORDS + 1]>() && !fits::<[u8; size_of::<[u64; WORDS]>() + 1]>());
        assert!(size_of::<Aligned>() < size_of::<[u64; WORDS]>() && !fits::<Aligned>());
    }

    /// In this order, and one after the other: the last part takes all that there is.
    #[test]
    fn blocks_are_given_back_and_what_is_beyond_is_the_allocator_s() {
        let domain = DomainRef::claim("life");
        what_nobody_wants_is_given_back(domain);
        what_a_thread_does_not_keep_is_given_back(domain);
        who_comes_when_the_process_has_no_more_has_one_of_the_allocator_s(domain);
        domain.release();
    }

    /// A result that nobody wants costs nothing from when that is seen, however long its completer is kept; nor does one that is over.
    fn what_nobody_wants_is_given_back(domain: DomainRef) {
        const EACH: usize = 5000;
        let before = blocks().count();
        let kept: Vec<_> = (0..EACH)
            .map(|_| {
                let (mut completer, completion) = completion(domain);
                drop(completion);
                completer.rest_if_unwanted();
                completer
            })
            .collect();
        for _ in 0..EACH {
            let (completer, mut completion) = completion(domain);
            assert_eq!(completer.complete(7), Ok(()));
            assert_eq!(completion.wait().ok().and_then(Result::ok), Some(7));
        }
        // (Other tests have completions meanwhile.)
        let grown = blocks().count() - before;
        assert!(grown < EACH / 2, "{grown} blocks more");
        for completer in kept {
            assert_eq!(completer.complete(7), Err(7));
        }
    }

    /// More at once than a thread keeps.
    fn what_a_thread_does_not_keep_is_given_back(domain: DomainRef) {
        const AT_ONCE: usize = 1000;
        let hold = || drop((0..AT_ONCE).map(|_| completion(domain)).collect::<Vec<_>>());
        hold();
        let before = blocks().count();
        (0..5).for_each(|_| hold());
        let grown = blocks().count() - before;
        assert!(grown < 2 * AT_ONCE, "{grown} blocks more");
    }

    fn who_comes_when_the_process_has_no_more_has_one_of_the_allocator_s(domain: DomainRef) {
        let mut all: Vec<_> = (0..MOST + 1000).map(|_| completion(domain)).collect();
        assert!(blocks().count() >= MOST);
        for (number, (completer, completion)) in (0..).zip(&mut all) {
            let (own, _) = self::completion(domain);
            assert_eq!(std::mem::replace(completer, own).complete(number), Ok(()));
            assert_eq!(completion.wait().ok().and_then(Result::ok), Some(number));
        }
        // Some threads may have claimed one of the last at once.
        assert!(blocks().count() < MOST + 64, "{}", blocks().count());
    }
}
