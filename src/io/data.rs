//! What is done with the data of an open file: reads, writes, syncs.
//!
//! A read of many ranges is as many reads, which the backend works on side by side, and one completion for the last of them.

use std::{io, sync::Arc};

use super::{
    File, Io, IoBuf, IoBufMut, IoError,
    gather::Gather,
    meter::Operation,
    op::{Deliver, Op, Transfer},
};
use crate::Completion;

/// Reads and writes.
impl Io {
    /// Reads from `offset` (in bytes) on into `buf`, up to its length, and gives the buffer back cut to what was read.
    ///
    /// May read less than asked for; an empty result is the end of the file. On a pipe or socket the offset means nothing.
    ///
    /// # Errors
    ///
    /// Those of `pread(2)`, with the buffer. `InvalidInput` for an empty buffer: its result could not be told from the end of
    /// the file (`Vec::with_capacity` gives an empty one; `vec![0; len]` is what is meant).
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost but the buffer, which the operation keeps until the kernel is through with it.
    pub fn read_at<B: IoBufMut>(&self, file: &File, buf: B, offset: u64) -> Completion<B, IoError<B>> {
        self.read(file, buf, offset, false)
    }

    /// As [`read_at`](Self::read_at), but reads all of `buf`: a short read is gone on with.
    ///
    /// ```
    /// # use unwedge::{Stop, io::{Io, OpenOptions}};
    /// # let stop = Stop::new("mds.a");
    /// # let io = Io::new(&stop)?;
    /// # let path = std::env::temp_dir().join(format!("unwedge-doc-exact-{}", std::process::id()));
    /// # std::fs::write(&path, b"ceph fs volume v011")?;
    /// let file = io.open(&path, OpenOptions::new().read(true)).wait()??;
    /// let error = io.read_exact_at(&file, vec![0; 32], 10).wait()?.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    /// assert_eq!(error.to_string(), format!("read of {} at offset 10: the file ends after 9 of 32 bytes", path.display()));
    /// assert_eq!(error.into_buffer().map(|buffer| buffer.len()), Some(32));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `pread(2)`; `UnexpectedEof` if the file ends before; each with the buffer, uncut.
    ///
    /// # Cancel safety
    ///
    /// As for [`read_at`](Self::read_at).
    pub fn read_exact_at<B: IoBufMut>(&self, file: &File, buf: B, offset: u64) -> Completion<B, IoError<B>> {
        self.read(file, buf, offset, true)
    }

    /// Reads many ranges of a file at once, each an offset and a buffer as for [`read_at`](Self::read_at), and gives the buffers back in the
    /// order of the ranges, each cut to what was read.
    ///
    /// ```
    /// # use unwedge::{Stop, io::{Io, OpenOptions}};
    /// # let stop = Stop::new("mds.a");
    /// # let io = Io::new(&stop)?;
    /// # let path = std::env::temp_dir().join(format!("unwedge-doc-ranges-{}", std::process::id()));
    /// # std::fs::write(&path, b"ceph fs volume v011")?;
    /// let file = io.open(&path, OpenOptions::new().read(true)).wait()??;
    /// let parts = io.read_ranges(&file, vec![(0, vec![0; 4]), (15, vec![0; 100])]).wait()??;
    /// assert_eq!(parts, [b"ceph", b"v011"]);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a range fails the whole does, when all of them have ended: the error is that of the first range that failed, and carries all the buffers
    /// (none at all if one was lost to a panic of its own). The content of those that failed is unspecified.
    ///
    /// # Cancel safety
    ///
    /// As for [`read_at`](Self::read_at).
    pub fn read_ranges<B: IoBufMut>(&self, file: &File, ranges: Vec<(u64, B)>) -> Completion<Vec<B>, IoError<Vec<B>>> {
        let opened = &file.0;
        let path = || opened.path.clone();
        if let Some(cause) = self.refusal() {
            let bufs = ranges.into_iter().map(|(_, buf)| buf).collect();
            return self.ready_error(IoError::refused("read", path(), cause), bufs);
        }
        let (mut parts, mut length, mut wrong) = (Vec::with_capacity(ranges.len()), 0, None);
        for (offset, mut buf) in ranges {
            let len = buf.bytes_mut().len();
            let mistake = if len == 0 { Err(empty()) } else { in_range(offset, len) };
            if let Err(error) = mistake {
                wrong.get_or_insert(IoError::failed("read", path(), error).at(offset));
            }
            length += len;
            parts.push((offset, len, buf));
        }
        if let Some(error) = wrong {
            return self.ready_error(error, parts.into_iter().map(|(.., buf)| buf).collect());
        }
        let Some((first, ..)) = parts.first() else { return Completion::ready(Ok(Vec::new()), self.domain()) };
        let (reply, completion) =
            self.owe(Operation::Read, "read", &opened.path, Some((opened.object.clone(), *first, length)));
        let gather = Gather::new(parts.len(), reply, all_read);
        for (at, (offset, len, mut buf)) in parts.into_iter().enumerate() {
            if opened.read_promptly(buf.bytes_mut(), offset) {
                gather.put(at, vec![Some((buf, None))]);
                continue;
            }
            let target = Transfer::new(buf, Part { at, gather: Some(Arc::clone(&gather)) });
            self.submit(Op::Read { file: Arc::clone(opened), offset, len, exact: false, target });
        }
        completion
    }

    #[inline]
    fn read<B: IoBufMut>(&self, file: &File, mut buf: B, offset: u64, exact: bool) -> Completion<B, IoError<B>> {
        let opened = &file.0;
        if let Some(cause) = self.refusal() {
            return self.ready_error(IoError::refused("read", opened.path.clone(), cause).at(offset), buf);
        }
        let bytes = buf.bytes_mut();
        let len = bytes.len();
        if len == 0 {
            return self.ready_error(IoError::failed("read", opened.path.clone(), empty()).at(offset), buf);
        }
        if let Err(error) = in_range(offset, len) {
            return self.ready_error(IoError::failed("read", opened.path.clone(), error).at(offset), buf);
        }
        if opened.read_promptly(bytes, offset) {
            self.meter().prompt(Operation::Read);
            return Completion::ready(Ok(buf), self.domain());
        }
        let about = Some((opened.object.clone(), offset, len));
        let (reply, completion) = self.owe(Operation::Read, "read", &opened.path, about);
        let target = Transfer::new(buf, reply);
        self.submit(Op::Read { file: Arc::clone(opened), offset, len, exact, target });
        completion
    }

    /// Writes all of `buf` from `offset` (in bytes) on, and gives the buffer back.
    ///
    /// # Errors
    ///
    /// Those of `pwrite(2)`, with the buffer; then a part of it may have been written.
    ///
    /// # Cancel safety
    ///
    /// A wait that ends early leaves open whether the data, or which part of it, was or will be written: what was submitted is never
    /// cancelled. Two writes to the same place, of which the first was given up, may be done in either order.
    pub fn write_at<B: IoBuf>(&self, file: &File, buf: B, offset: u64) -> Completion<B, IoError<B>> {
        let opened = &file.0;
        if let Some(cause) = self.refusal() {
            return self.ready_error(IoError::refused("write", opened.path.clone(), cause).at(offset), buf);
        }
        let len = buf.bytes().len();
        if let Err(error) = in_range(offset, len) {
            return self.ready_error(IoError::failed("write", opened.path.clone(), error).at(offset), buf);
        }
        opened.find_out_if_unknown();
        let about = Some((opened.object.clone(), offset, len));
        let (reply, completion) = self.owe(Operation::Write, "write", &opened.path, about);
        let source = Transfer::new(buf, reply);
        self.submit(Op::Write { file: Arc::clone(opened), offset, len, source });
        completion
    }

    /// Makes what was written to the file durable, its length and times included; of a directory, its names.
    ///
    /// # Errors
    ///
    /// Those of `fsync(2)`.
    ///
    /// # Cancel safety
    ///
    /// Safe: without a result nothing is known about durability.
    pub fn fsync(&self, file: &File) -> Completion<(), IoError> {
        self.sync(file, false)
    }

    /// Makes what was written to the file durable, and of its attributes only what is needed to read it back.
    ///
    /// # Errors
    ///
    /// Those of `fdatasync(2)`.
    ///
    /// # Cancel safety
    ///
    /// Safe: without a result nothing is known about durability.
    pub fn fdatasync(&self, file: &File) -> Completion<(), IoError> {
        self.sync(file, true)
    }

    fn sync(&self, file: &File, data_only: bool) -> Completion<(), IoError> {
        let opened = &file.0;
        let name = if data_only { "fdatasync" } else { "fsync" };
        if let Some(cause) = self.refusal() {
            return Completion::ready(Err(IoError::refused(name, opened.path.clone(), cause)), self.domain());
        }
        let about = Some((opened.object.clone(), 0, 0));
        let (reply, completion) = self.owe(Operation::Sync, name, &opened.path, about);
        self.submit(Op::Sync { file: Arc::clone(opened), data_only, reply });
        completion
    }
}

/// A range of [`Io::read_ranges`]: the buffer, and what went wrong with it; `None` if the buffer was lost to a panic.
type Range<B> = Option<(B, Option<IoError>)>;

type Ranges<B> = Gather<Range<B>, Vec<B>, IoError<Vec<B>>>;

/// Brings a range's buffer to the others.
struct Part<B: Send + 'static> {
    at: usize,
    /// `None` once it was brought.
    gather: Option<Arc<Ranges<B>>>,
}

impl<B: Send + 'static> Deliver<B> for Part<B> {
    fn is_wanted(&self) -> bool {
        self.gather.as_ref().is_some_and(|gather| gather.is_wanted())
    }

    fn deliver(mut self, result: Result<B, IoError<B>>) {
        let part = match result {
            Ok(buf) => Some((buf, None)),
            Err(error) => error.apart().map(|(error, buf)| (buf, Some(error))),
        };
        if let Some(gather) = self.gather.take() {
            gather.put(self.at, vec![part]);
        }
    }
}

impl<B: Send + 'static> Drop for Part<B> {
    /// A buffer that was lost to a panic is missing from the others.
    fn drop(&mut self) {
        if let Some(gather) = self.gather.take() {
            gather.put(self.at, vec![None]);
        }
    }
}

fn all_read<B>(parts: Vec<Range<B>>) -> Result<Vec<B>, IoError<Vec<B>>> {
    let (mut bufs, mut failed, mut lost) = (Vec::with_capacity(parts.len()), None, false);
    for part in parts {
        match part {
            Some((buf, error)) => {
                bufs.push(buf);
                failed = failed.or(error);
            }
            None => lost = true,
        }
    }
    match (lost, failed) {
        (true, _) => Err(IoError::from(crate::Abandoned)),
        (false, Some(error)) => Err(error.carrying(bufs)),
        (false, None) => Ok(bufs),
    }
}

fn empty() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the buffer is empty")
}

/// The kernel's offsets are signed, and -1 means "where the file is": neither may be reached from here.
#[inline]
fn in_range(offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= i64::MAX as u64 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the offset is beyond the largest file")),
    }
}
