//! A page-aligned buffer of 4 KiB that every side can read into, direct reads included.
//!
//! **Stable**: the bytes are in a box of their own, which nobody replaces: they stay where they are while the page moves.

use std::mem::MaybeUninit;

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// See the head of this file.
#[derive(Debug)]
pub struct Page(Box<Aligned>);

#[derive(Debug)]
#[repr(C, align(4096))]
struct Aligned([u8; PAGE]);

impl Page {
    /// A page of zeros.
    #[must_use]
    pub fn new() -> Page {
        Page(Box::new(Aligned([0; PAGE])))
    }

    /// What is in it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.0
    }

    /// What is in it, to be overwritten.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0.0
    }

    /// The number with which a page of the bench's files begins.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.0.first_chunk().map_or(u64::MAX, |first| u64::from_le_bytes(*first))
    }
}

impl Default for Page {
    fn default() -> Self {
        Page::new()
    }
}

impl unwedge::io::IoBufMut for Page {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0.0
    }

    /// All reads here are of whole pages: `Lane::check` would see another.
    fn cut(&mut self, _len: usize) {}
}

// SAFETY: by Stable the pointer stays good as long as the page lives, and all bytes are initialised from the start.
unsafe impl tokio_uring::buf::IoBuf for Page {
    fn stable_ptr(&self) -> *const u8 {
        self.0.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        PAGE
    }

    fn bytes_total(&self) -> usize {
        PAGE
    }
}

// SAFETY: as above; there is no length to set.
unsafe impl tokio_uring::buf::IoBufMut for Page {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.0.as_mut_ptr()
    }

    unsafe fn set_init(&mut self, _pos: usize) {}
}

// SAFETY: by Stable, and all bytes are initialised from the start.
unsafe impl monoio::buf::IoBufMut for Page {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.0.as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        PAGE
    }

    unsafe fn set_init(&mut self, _pos: usize) {}
}

impl compio::buf::IoBuf for Page {
    fn as_init(&self) -> &[u8] {
        &self.0.0
    }
}

impl compio::buf::SetLen for Page {
    unsafe fn set_len(&mut self, _len: usize) {}
}

impl compio::buf::IoBufMut for Page {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        let bytes: &mut [u8] = &mut self.0.0;
        // SAFETY: `MaybeUninit<u8>` has the layout of `u8`; compio writes only initialised bytes, those of a read, through it.
        unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) }
    }
}
