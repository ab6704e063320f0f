//! Memory of cells that a thread keeps for its next completions: a completion that is soon over costs as much as the allocator takes for it.
//!
//! Blocks of one size, for every cell that fits; a larger one goes through the allocator. Nothing here knows what lies in a block.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// Room for what most completions carry: a number, a buffer with its length, an error.
#[repr(align(16))]
struct Block {
    _room: [u8; 256],
}

/// Whether a `T` lies in a block.
const fn fits<T>() -> bool {
    size_of::<T>() <= size_of::<Block>() && align_of::<T>() <= align_of::<Block>()
}

/// Memory for one `T`, with nothing in it, to be given to [`give_back`] as a `T` again.
#[inline]
pub(super) fn take<T>() -> NonNull<T> {
    if const { fits::<T>() } {
        let block = kept::take().unwrap_or_else(Box::new_uninit);
        NonNull::from(Box::leak(block)).cast()
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
        // SAFETY: `take` leaked a box of a block where a `T` fits, and the caller is the only one who makes a box of it again.
        kept::keep(unsafe { Box::from_raw(place.as_ptr().cast::<MaybeUninit<Block>>()) });
    } else {
        // SAFETY: as above, of a `T` where it does not fit.
        drop(unsafe { Box::from_raw(place.as_ptr().cast::<MaybeUninit<T>>()) });
    }
}

#[cfg(not(any(unwedge_loom, unwedge_asan)))]
mod kept {
    use std::cell::Cell;
    use std::mem::MaybeUninit;

    use super::Block;

    /// The most that a thread keeps: 4 KiB.
    const MOST: usize = 16;

    type Place = Cell<Option<Box<MaybeUninit<Block>>>>;

    struct Spare {
        /// The first `count` have one.
        blocks: [Place; MOST],
        count: Cell<usize>,
    }

    std::thread_local! {
        static SPARE: Spare = const { Spare { blocks: [const { Cell::new(None) }; MOST], count: Cell::new(0) } };
    }

    /// One that this thread has kept.
    #[inline]
    pub(super) fn take() -> Option<Box<MaybeUninit<Block>>> {
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
    pub(super) fn keep(block: Box<MaybeUninit<Block>>) {
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
mod kept {
    use std::mem::MaybeUninit;

    use super::Block;

    pub(super) fn take() -> Option<Box<MaybeUninit<Block>>> {
        None
    }

    pub(super) fn keep(block: Box<MaybeUninit<Block>>) {
        drop(block);
    }
}
