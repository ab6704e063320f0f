//! The error of an operation on RADOS: what was tried, on which object, and what is known of it.

use std::{error, fmt, io};

use unwedge::Abandoned;

/// Why an operation on RADOS failed.
///
/// A write that was cancelled after it had been sent is *undecided*: it may have been done, or may still be done when the storage comes back.
/// Who has to know looks at the object, or writes in a way that can be repeated.
///
/// ```no_run
/// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// let table = match pool.read("mds0_inotable", 0, 4096).wait()? {
///     Err(error) if error.is_missing() => Vec::new(),
///     read => read?,
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RadosError {
    operation: &'static str,
    object: Option<Box<str>>,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The cluster's answer: an error number.
    Failed(i32),
    /// It was given up before it was sent.
    Cancelled,
    /// A write that was given up when it had been sent.
    Undecided,
    /// The cluster's handle was closed.
    Closed,
    /// The answer is not what it should be.
    Garbled,
    /// An argument has a zero byte in it, which librados cannot be told.
    ZeroByte,
    Abandoned,
}

impl RadosError {
    pub(crate) fn new(operation: &'static str, object: Option<&str>, cause: Cause) -> RadosError {
        RadosError { operation, object: object.map(Box::from), cause }
    }

    /// What was tried: `"read"`, `"omap_get_vals"`, `"connect"`, …
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// On what: an object, or a pool, or the path of a configuration.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The cluster's error number.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self.cause {
            Cause::Failed(number) => Some(number),
            _ => None,
        }
    }

    /// The kind of failure; [`ErrorKind::Other`](io::ErrorKind::Other) where the cluster has not answered.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self.cause {
            Cause::Failed(number) => io::Error::from_raw_os_error(number).kind(),
            Cause::ZeroByte => io::ErrorKind::InvalidInput,
            Cause::Garbled => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        }
    }

    /// Whether the object or pool is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }

    /// Whether it was a write that was cancelled after it had been sent: nobody knows whether it was done, or will be.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.cause == Cause::Undecided
    }

    /// Whether it was cancelled without any effect: a read, or a write that had not been sent.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cause == Cause::Cancelled
    }

    /// Whether the cluster's handle had been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.cause == Cause::Closed
    }

    /// Whether it was refused from the start because its domain had been stopped, or ended without a result.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.cause == Cause::Abandoned
    }

    /// Whether this client has been fenced: the cluster refuses whatever it sends (`EBLOCKLISTED`, which has the number of `ESHUTDOWN`).
    #[must_use]
    pub fn is_blocklisted(&self) -> bool {
        self.cause == Cause::Failed(EBLOCKLISTED)
    }
}

const EBLOCKLISTED: i32 = 108;

impl fmt::Display for RadosError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        if let Some(object) = &self.object {
            write!(f, " of {object}")?;
        }
        f.write_str(": ")?;
        match self.cause {
            Cause::Failed(EBLOCKLISTED) => f.write_str("this client is blocklisted"),
            Cause::Failed(number) => io::Error::from_raw_os_error(number).fmt(f),
            Cause::Cancelled => f.write_str("cancelled without effect"),
            Cause::Undecided => f.write_str("cancelled when it had been sent: whether it is done is not decided"),
            Cause::Closed => f.write_str("the cluster's handle has been closed"),
            Cause::Garbled => f.write_str("the answer cannot be decoded"),
            Cause::ZeroByte => f.write_str("a name has a zero byte in it"),
            Cause::Abandoned => f.write_str("abandoned without a result"),
        }
    }
}

impl error::Error for RadosError {}

impl From<Abandoned> for RadosError {
    fn from(_: Abandoned) -> Self {
        RadosError::new("operation", None, Cause::Abandoned)
    }
}

impl From<RadosError> for io::Error {
    /// Keeps the kind and the text.
    fn from(error: RadosError) -> Self {
        io::Error::new(error.kind(), error)
    }
}
