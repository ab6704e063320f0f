//! Buffers that notice a write after they were given back: what a runtime frees while the kernel still reads into it shows here.
//!
//! An arena is memory that is never unmapped, in pages. A [`Lent`] page marks itself as given back when it is dropped and fills itself with a
//! canary. A page that was given back and has another content later was written to by the kernel: any allocator would have given
//! that memory to somebody else by then.
//!
//! **Alone**: a page of an arena is lent once, so a `Lent` is the only one through which it is reached, until it is dropped; afterwards only the
//! arena looks at it, with volatile reads.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::groups::io::PAGE;

/// What a page that was given back is filled with. The bench's files have no such words.
const CANARY: u64 = 0xc0a1_ce55_dead_f00d;
const WORDS: usize = PAGE / 8;

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Arena(Arc<Pages>);

#[derive(Debug)]
struct Pages {
    memory: NonNull<u8>,
    /// Set (release) once the canary is in the page; read (acquire) before it is looked for.
    given_back: Vec<AtomicBool>,
}

// SAFETY: the pointer is to memory that is never unmapped; who may access which page is said by Alone.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

/// A page of an arena that somebody may read into.
#[derive(Debug)]
pub struct Lent {
    arena: Arc<Pages>,
    index: usize,
}

impl Arena {
    /// So many pages, and all of them lent.
    ///
    /// # Panics
    ///
    /// If there is no memory for them.
    #[must_use]
    pub fn lend(pages: usize) -> (Arena, Vec<Lent>) {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::POPULATE);
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let memory = unsafe { mmap_anonymous(std::ptr::null_mut(), pages * PAGE, access, flags) };
        let memory = NonNull::new(memory.expect("memory for an arena").cast()).expect("a mapping is not at 0");
        let given_back = (0..pages).map(|_| AtomicBool::new(false)).collect();
        let arena = Arc::new(Pages { memory, given_back });
        let lent = (0..pages).map(|index| Lent { arena: arena.clone(), index }).collect();
        (Arena(arena), lent)
    }

    /// How many pages were given back, and how many of those were written to afterwards.
    #[must_use]
    pub fn look(&self) -> (usize, usize) {
        let back = self.0.given_back.iter().enumerate().filter(|(_, back)| back.load(Acquire));
        back.fold((0, 0), |(back, written), (index, _)| {
            let words = self.0.page(index).as_ptr().cast::<u64>();
            let changed = (0..WORDS).any(|at| {
                // SAFETY: within the page, which is mapped for ever; volatile, because the kernel may write to it.
                unsafe { words.wrapping_add(at).read_volatile() != CANARY }
            });
            (back + 1, written + usize::from(changed))
        })
    }
}

impl Pages {
    fn page(&self, index: usize) -> NonNull<u8> {
        assert!(index < self.given_back.len());
        // SAFETY: within the mapping, by the line above.
        unsafe { self.memory.add(index * PAGE) }
    }
}

impl Lent {
    fn bytes(&self) -> &[u8] {
        let page = NonNull::slice_from_raw_parts(self.arena.page(self.index), PAGE);
        // SAFETY: by Alone nobody else reaches the page, which is mapped and zeroed.
        unsafe { page.as_ref() }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let mut page = NonNull::slice_from_raw_parts(self.arena.page(self.index), PAGE);
        // SAFETY: as above, and through an exclusive reference.
        unsafe { page.as_mut() }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let words = self.arena.page(self.index).as_ptr().cast::<u64>();
        for at in 0..WORDS {
            // SAFETY: within the page, by Alone nobody else's; volatile, because the kernel may be writing to it: that is what is looked for.
            unsafe { words.wrapping_add(at).write_volatile(CANARY) };
        }
        self.arena.given_back[self.index].store(true, Release);
    }
}

impl unwedge::io::IoBufMut for Lent {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }

    fn cut(&mut self, _len: usize) {}
}

// SAFETY: the memory is never unmapped, and initialised from the start.
unsafe impl tokio_uring::buf::IoBuf for Lent {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        PAGE
    }

    fn bytes_total(&self) -> usize {
        PAGE
    }
}

// SAFETY: as above; there is no length to set.
unsafe impl tokio_uring::buf::IoBufMut for Lent {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.bytes_mut().as_mut_ptr()
    }

    unsafe fn set_init(&mut self, _pos: usize) {}
}

// SAFETY: the memory is never unmapped, and initialised from the start.
unsafe impl monoio::buf::IoBufMut for Lent {
    fn write_ptr(&mut self) -> *mut u8 {
        self.bytes_mut().as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        PAGE
    }

    unsafe fn set_init(&mut self, _pos: usize) {}
}

impl compio::buf::IoBuf for Lent {
    fn as_init(&self) -> &[u8] {
        self.bytes()
    }
}

impl compio::buf::SetLen for Lent {
    unsafe fn set_len(&mut self, _len: usize) {}
}

impl compio::buf::IoBufMut for Lent {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        let bytes: *mut [u8] = self.bytes_mut();
        // SAFETY: `MaybeUninit<u8>` has the layout of `u8`; compio writes only initialised bytes, those of a read, through it.
        unsafe { &mut *(bytes as *mut [MaybeUninit<u8>]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_after_the_drop_is_seen_and_one_before_it_is_not() {
        let (arena, mut lent) = Arena::lend(3);
        lent[0].bytes_mut()[7] = 1;
        assert_eq!(arena.look(), (0, 0));
        let late = arena.0.page(2);
        drop(lent);
        assert_eq!(arena.look(), (3, 0));
        // SAFETY: the page is mapped, and nobody else accesses it now.
        unsafe { late.write(0) };
        assert_eq!(arena.look(), (3, 1));
    }
}
