//! The error of an operation: what was tried, on what, what went wrong, and the buffer back.

use std::{error, fmt, io, path::Path, sync::Arc};

use crate::Abandoned;

/// Why an operation failed. It names the operation, the path and the offset, and carries the buffer that went in.
///
/// ```
/// # use unwedge::{Stop, io::{Io, OpenOptions}};
/// let stop = Stop::new("mds.a");
/// let io = Io::new(&stop)?;
/// let error = io.open("/nonexistent/200.00000000", OpenOptions::new().read(true)).wait()?.unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "open of /nonexistent/200.00000000: No such file or directory (os error 2)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IoError<B = ()> {
    /// In a box, so that a result is little more than its buffer: results are moved about, and most are none of these.
    what: Box<What>,
    buffer: Option<B>,
}

/// What there is to say of a failure.
struct What {
    operation: &'static str,
    path: Option<Arc<Path>>,
    offset: Option<u64>,
    cause: Cause,
}

pub(super) enum Cause {
    Failed(io::Error),
    Closed,
    Abandoned,
    TimedOut,
    Forked,
}

impl<B> IoError<B> {
    fn new(operation: &'static str, path: Option<Arc<Path>>, cause: Cause) -> Self {
        IoError { what: Box::new(What { operation, path, offset: None, cause }), buffer: None }
    }

    pub(super) fn failed(operation: &'static str, path: Arc<Path>, error: io::Error) -> Self {
        IoError::new(operation, Some(path), Cause::Failed(error))
    }

    pub(super) fn closed(operation: &'static str, path: Arc<Path>) -> Self {
        IoError::refused(operation, path, Cause::Closed)
    }

    /// The kernel was not asked.
    pub(super) fn refused(operation: &'static str, path: Arc<Path>, cause: Cause) -> Self {
        IoError::new(operation, Some(path), cause)
    }

    pub(super) fn at(mut self, offset: u64) -> Self {
        self.what.offset = Some(offset);
        self
    }

    /// The same error with the buffer that went in.
    pub(super) fn carrying<C>(self, buffer: C) -> IoError<C> {
        IoError { what: self.what, buffer: Some(buffer) }
    }

    /// The same error and its buffer, if it has one.
    pub(super) fn apart(self) -> Option<(IoError, B)> {
        let IoError { what, buffer } = self;
        buffer.map(|buffer| (IoError { what, buffer: None }, buffer))
    }

    /// The same error, of an operation whose buffer stays where it is.
    pub(super) fn bare<C>(self) -> IoError<C> {
        IoError { what: self.what, buffer: None }
    }

    /// What was tried: `"open"`, `"read"`, `"write"`, `"fsync"`, …
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.what.operation
    }

    /// On what it was tried, as it was given to [`Io::open`](super::Io::open).
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.what.path.as_deref()
    }

    /// The offset in bytes at which a read or write began.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.what.offset
    }

    /// The kind of failure; [`ErrorKind::Other`](io::ErrorKind::Other) where the kernel was not asked.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match &self.what.cause {
            Cause::Failed(error) => error.kind(),
            Cause::TimedOut => io::ErrorKind::TimedOut,
            Cause::Closed | Cause::Abandoned | Cause::Forked => io::ErrorKind::Other,
        }
    }

    /// The kernel's error number.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match &self.what.cause {
            Cause::Failed(error) => error.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the I/O service was shut down before the operation was begun.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.what.cause, Cause::Closed)
    }

    /// Whether the operation ended without a result: a method of the buffer panicked.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        matches!(self.what.cause, Cause::Abandoned)
    }

    /// Whether the operation was not answered within its [deadline](super::IoBuilder::deadline). It goes on all the same, and keeps its buffer.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        matches!(self.what.cause, Cause::TimedOut)
    }

    /// Whether the I/O service belongs to the process that this one was forked from: see [`io`](super#after-a-fork).
    #[must_use]
    pub fn is_forked(&self) -> bool {
        matches!(self.what.cause, Cause::Forked)
    }

    /// The buffer that went in; its content is unspecified after a failed read. `None` if the operation had none, was
    /// not answered within its deadline, or lost it to a panic.
    #[must_use]
    pub fn into_buffer(self) -> Option<B> {
        self.buffer
    }

    /// The same error without its buffer.
    #[must_use]
    pub fn without_buffer(self) -> IoError {
        self.bare()
    }
}

impl<B> fmt::Display for IoError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.operation)?;
        if let Some(path) = &self.what.path {
            write!(f, " of {}", path.display())?;
        }
        if let Some(offset) = self.what.offset {
            write!(f, " at offset {offset}")?;
        }
        match &self.what.cause {
            Cause::Failed(error) => write!(f, ": {error}"),
            Cause::Closed => f.write_str(": the I/O service has been shut down"),
            Cause::Abandoned => f.write_str(": abandoned without a result"),
            Cause::TimedOut => f.write_str(": not answered within the deadline of operations"),
            Cause::Forked => f.write_str(": the I/O service belongs to the process before the fork"),
        }
    }
}

impl<B> fmt::Debug for IoError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IoError").field(&format_args!("{self}")).finish()
    }
}

impl<B> error::Error for IoError<B> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.what.cause {
            Cause::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl<B> From<Abandoned> for IoError<B> {
    fn from(_: Abandoned) -> Self {
        IoError::new("I/O", None, Cause::Abandoned)
    }
}

impl<B> From<IoError<B>> for io::Error {
    /// Keeps the kind and the text.
    fn from(error: IoError<B>) -> Self {
        io::Error::new(error.kind(), error.without_buffer())
    }
}
