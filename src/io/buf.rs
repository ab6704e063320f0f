//! Buffers that an operation owns while the kernel reads or writes them.
//!
//! # Why these traits are safe to implement
//!
//! A buffer goes into an operation by value. Before the kernel sees it, the operation is placed on the heap, its ownership is given up
//! for as long as the kernel works (`Box::into_raw`), and the bytes are asked for once, through a reference that lives for `'static`:
//! `&'static mut B` gives `&'static mut [u8]`. Nobody else has that reference, and the operation does not touch, move or drop `B` before
//! its own completion has arrived. So the kernel holds what safe code would call a mutable borrow of static memory. An implementation
//! cannot tell that the borrow ends one day, and may do whatever safe code may: hold the bytes inline, on the heap, in a map of a file,
//! behind a lock whose guard it keeps. Nothing of this relies on it being well-behaved: there is no `unsafe` to promise.
//!
//! A buffer must be `'static`, because the operation may outlive who asked for it; and `Send`, because another thread finishes it.

use std::{mem, sync::Arc};

/// Bytes to write from.
///
/// ```
/// use unwedge::io::IoBuf;
///
/// struct Page { bytes: [u8; 4096], used: usize }
/// impl IoBuf for Page {
///     fn bytes(&self) -> &[u8] { &self.bytes[..self.used] }
/// }
/// # assert_eq!(Page { bytes: [0; 4096], used: 3 }.bytes().len(), 3);
/// ```
///
/// Its methods, and its drop where nobody wants the result any more, run on the thread that ends the operation. On io_uring that is the one that serves all
/// operations of an [`Io`](super::Io), so they must not block (as the drop of a file on a dead mount may): the others would wait, until their waits end by a
/// stop, and the shutdown would leave that thread at its deadline.
pub trait IoBuf: Send + 'static {
    /// What is to be written.
    fn bytes(&self) -> &[u8];
}

/// Bytes to read into.
///
/// ```
/// use unwedge::io::IoBufMut;
///
/// struct Page { bytes: [u8; 4096], used: usize }
/// impl IoBufMut for Page {
///     fn bytes_mut(&mut self) -> &mut [u8] { &mut self.bytes[..self.used] }
///     fn cut(&mut self, len: usize) { self.used = self.used.min(len) }
/// }
/// # let mut page = Page { bytes: [0; 4096], used: 4096 };
/// # page.cut(7);
/// # assert_eq!(page.bytes_mut().len(), 7);
/// ```
///
/// Neither its methods nor its drop must block: see [`IoBuf`].
pub trait IoBufMut: Send + 'static {
    /// The bytes that a read may overwrite: as many are asked for as this is long.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Shortens the buffer to the first `len` bytes, those that were read. `len` is never more than `bytes_mut()` was long.
    fn cut(&mut self, len: usize);
}

impl IoBufMut for Vec<u8> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn cut(&mut self, len: usize) {
        self.truncate(len);
    }
}

/// A short read copies what was read into a smaller box.
impl IoBufMut for Box<[u8]> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn cut(&mut self, len: usize) {
        if len < self.len() {
            let mut bytes = mem::take(self).into_vec();
            bytes.truncate(len);
            *self = bytes.into_boxed_slice();
        }
    }
}

/// A buffer with a length: `BytesMut::zeroed(len)`, not `with_capacity`.
#[cfg(feature = "bytes")]
impl IoBufMut for bytes::BytesMut {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn cut(&mut self, len: usize) {
        self.truncate(len);
    }
}

#[cfg(feature = "bytes")]
impl IoBuf for bytes::BytesMut {
    fn bytes(&self) -> &[u8] {
        self
    }
}

#[cfg(feature = "bytes")]
impl IoBuf for bytes::Bytes {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl IoBuf for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl IoBuf for Box<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl IoBuf for Arc<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl IoBuf for &'static [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl IoBuf for &'static str {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl IoBuf for String {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<const N: usize> IoBuf for [u8; N] {
    fn bytes(&self) -> &[u8] {
        self
    }
}
