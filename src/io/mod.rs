//! Metadata I/O as completions: `open`, reads, writes and `fsync` that a stop ends the wait for, whatever the storage does.
//!
//! ```
//! use unwedge::{Stop, io::{Io, OpenOptions}};
//!
//! let stop = Stop::new("mds.a");
//! let io = Io::new(&stop)?;
//! # let dir = std::env::temp_dir().join(format!("unwedge-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! # let path = dir.join("200.00000000");
//! # std::fs::write(&path, b"ceph fs volume v011")?;
//! let journal = io.open(&path, OpenOptions::new().read(true)).wait()??;
//! let header = io.read_at(&journal, vec![0; 4096], 0).wait()??;
//! assert_eq!(header, b"ceph fs volume v011");      // cut to what was read
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a stop does, and what it cannot do
//!
//! A stop ends the *wait* for an operation, at once. It cannot end a read that a disk has begun: the kernel writes into the buffer when the
//! disk answers. So an operation owns its buffer, its file and its path until the kernel is through with it; a wait that was stopped or
//! timed out does not give the buffer back. What the kernel still has when the deadline of a shutdown comes stays with it, is
//! counted in the [report](crate::Stop::shutdown), and is freed if the storage answers after all.
//!
//! # Backends
//!
//! io_uring, with one ring that one thread of its own submits to and reaps; where the kernel refuses that (an old kernel, a container's
//! seccomp filter) a pool of threads, and [`Io::fallback_reason`] says why. Both keep the same contract. The environment variable
//! `UNWEDGE_IO` set to `uring` or `pool` overrides [`Backend::Auto`].
//!
//! On the caller's own thread only what cannot block is done: a read of a buffered file whose pages are in the page cache
//! (`RWF_NOWAIT`). Such a read costs one system call and no thread is woken.
//!
//! # Which domain
//!
//! An [`Io`] belongs to a stop domain: after its stop is requested every operation is refused, and every wait ends. The phases of a shutdown
//! do their I/O through [`Io::with`], on the same backend, which is closed as the last step of the shutdown.

use std::{
    ffi::CString,
    fmt, io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::Arc,
    time::Instant,
};

mod backend;
mod buf;
mod builder;
mod closer;
mod error;
mod file;
mod op;
mod pool;
#[cfg(feature = "uring")]
mod uring;

pub use buf::{IoBuf, IoBufMut};
pub use builder::{Backend, IoBuilder};
pub use error::IoError;
pub use file::{File, OpenOptions};

use crate::{
    Abandoned, Completer, Completion, Object, Owed, Stop,
    stop::{Leaked, Service},
};
use backend::Backends;
use op::{Op, Open, Transfer};
use pool::Pool;

/// Metadata I/O for one domain: see the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Io {
    backends: Arc<Backends>,
    domain: Stop,
    fallback: Option<Arc<str>>,
}

impl Io {
    /// I/O with the best backend that the kernel gives, for the operations of `domain`.
    ///
    /// # Errors
    ///
    /// If `UNWEDGE_IO` names a backend that is not to be had, or something that is none.
    pub fn new(domain: &Stop) -> io::Result<Io> {
        Io::builder(domain).build()
    }

    /// Chooses the backend and its size.
    pub fn builder(domain: &Stop) -> IoBuilder {
        IoBuilder::new(domain)
    }

    /// The same backend for another domain: for a phase of a shutdown, or a child.
    #[must_use]
    pub fn with(&self, domain: &Stop) -> Io {
        Io { backends: Arc::clone(&self.backends), domain: domain.clone(), fallback: self.fallback.clone() }
    }

    /// `"uring"` or `"pool"`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backends.transfers.name()
    }

    /// Why there is no io_uring, where it was wanted and refused.
    #[must_use]
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// Those of `openat(2)`. `InvalidInput` for a path with a NUL byte and for options that make no sense together.
    ///
    /// # Cancel safety
    ///
    /// Safe: if nobody waits any more the file is closed again. If the options create or truncate, that may have happened.
    pub fn open(&self, path: impl AsRef<Path>, options: OpenOptions) -> Completion<File, IoError> {
        let path: Arc<Path> = Arc::from(path.as_ref());
        if self.domain.is_requested() {
            return Completion::ready(Err(IoError::closed("open", path)), &self.domain);
        }
        let name = match CString::new(path.as_os_str().as_bytes()) {
            Ok(name) if options.is_valid() => name,
            Ok(_) => return self.invalid("open", path, "neither read nor write, or create and truncate without write"),
            Err(_) => return self.invalid("open", path, "a NUL byte in the path"),
        };
        let (reply, completion) = Completion::new(owed("open", file::object(&path), 0, 0), &self.domain);
        let home = Arc::clone(&self.backends);
        self.submit(Op::Open(Box::new(Open { path, name, options, reply, home })));
        completion
    }

    /// Takes over an open file, pipe, socket or device, under a name for reports and errors.
    ///
    /// # Errors
    ///
    /// If the descriptor's flags cannot be read.
    pub fn attach(&self, fd: impl Into<OwnedFd>, name: impl AsRef<Path>) -> io::Result<File> {
        let fd = fd.into();
        let direct = rustix::fs::fcntl_getfl(&fd)?.contains(rustix::fs::OFlags::DIRECT);
        Ok(File::new(fd, Arc::from(name.as_ref()), direct, Arc::clone(&self.backends)))
    }

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
    pub fn read_at<B: IoBufMut>(&self, file: &File, mut buf: B, offset: u64) -> Completion<B, IoError<B>> {
        let opened = &file.0;
        if self.domain.is_requested() {
            return self.ready_error(IoError::closed("read", opened.path.clone()).at(offset), buf);
        }
        let bytes = buf.bytes_mut();
        let len = bytes.len();
        if len == 0 {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "the buffer is empty");
            return self.ready_error(IoError::failed("read", opened.path.clone(), error).at(offset), buf);
        }
        if let Err(error) = in_range(offset, len) {
            return self.ready_error(IoError::failed("read", opened.path.clone(), error).at(offset), buf);
        }
        if opened.read_promptly(bytes, offset) {
            return Completion::ready(Ok(buf), &self.domain);
        }
        let (reply, completion) = Completion::new(owed("read", opened.object.clone(), offset, len), &self.domain);
        let target = Transfer::new(buf, reply);
        self.submit(Op::Read { file: Arc::clone(opened), offset, len, target });
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
        if self.domain.is_requested() {
            return self.ready_error(IoError::closed("write", opened.path.clone()).at(offset), buf);
        }
        let len = buf.bytes().len();
        if let Err(error) = in_range(offset, len) {
            return self.ready_error(IoError::failed("write", opened.path.clone(), error).at(offset), buf);
        }
        opened.find_out_if_unknown();
        let (reply, completion) = Completion::new(owed("write", opened.object.clone(), offset, len), &self.domain);
        let source = Transfer::new(buf, reply);
        self.submit(Op::Write { file: Arc::clone(opened), offset, len, source });
        completion
    }

    /// Makes what was written to the file durable, its length and times included.
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
        if self.domain.is_requested() {
            return Completion::ready(Err(IoError::closed("fsync", opened.path.clone())), &self.domain);
        }
        let (reply, completion) = Completion::new(owed("fsync", opened.object.clone(), 0, 0), &self.domain);
        self.submit(Op::Sync { file: Arc::clone(opened), data_only, reply });
        completion
    }

    /// Renames a file, replacing what is at `to`.
    ///
    /// # Errors
    ///
    /// Those of `rename(2)`; the error names `from`.
    ///
    /// # Cancel safety
    ///
    /// A wait that ends early leaves open whether the file was or will be renamed.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Completion<(), IoError> {
        let from: Arc<Path> = Arc::from(from.as_ref());
        let to: Arc<Path> = Arc::from(to.as_ref());
        if self.domain.is_requested() {
            return Completion::ready(Err(IoError::closed("rename", from)), &self.domain);
        }
        let (reply, completion) = Completion::new(owed("rename", file::object(&from), 0, 0), &self.domain);
        let reply = Reply { operation: "rename", path: from, reply: Some(reply) };
        self.run(Box::new(move || {
            let result = std::fs::rename(&*reply.path, &*to);
            reply.give(result);
        }));
        completion
    }

    /// Runs anything that blocks on a thread of the pool, under a name for reports: `stat`, a directory listing, an atomic save.
    ///
    /// A job that panics, and one that was still queued when the service was closed, is [`Abandoned`].
    ///
    /// # Cancel safety
    ///
    /// A job that has begun runs to its end, whoever waits for it; one that has not and that nobody waits for is not begun.
    pub fn run_blocking<T, F>(&self, name: &'static str, job: F) -> Completion<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if self.domain.is_requested() {
            return Completion::ready(Err(Abandoned), &self.domain);
        }
        let (reply, completion) = Completion::new(name, &self.domain);
        self.run(Box::new(move || {
            if reply.is_wanted() {
                drop(reply.complete(job()));
            }
        }));
        completion
    }

    fn submit(&self, op: Op) {
        if let Err(op) = self.backends.transfers.submit(op) {
            // Never a close: those are submitted by the files themselves.
            drop(op.refuse());
        }
    }

    fn run(&self, job: pool::Job) {
        // A job that is refused is dropped, and tells its waiter so.
        drop(self.backends.pool.run(job));
    }

    fn ready_error<B>(&self, error: IoError, buf: B) -> Completion<B, IoError<B>> {
        Completion::ready(Err(error.carrying(buf)), &self.domain)
    }

    fn invalid<T>(&self, operation: &'static str, path: Arc<Path>, why: &'static str) -> Completion<T, IoError> {
        let error = io::Error::new(io::ErrorKind::InvalidInput, why);
        Completion::ready(Err(IoError::failed(operation, path, error)), &self.domain)
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("backend", &self.backend()).finish_non_exhaustive()
    }
}

/// Owes the result of a job on a path; dropped without one (the service was closed) it says so.
struct Reply {
    operation: &'static str,
    path: Arc<Path>,
    reply: Option<Completer<(), IoError>>,
}

impl Reply {
    fn give(mut self, result: io::Result<()>) {
        if let Some(reply) = self.reply.take() {
            match result {
                Ok(()) => drop(reply.complete(())),
                Err(error) => drop(reply.fail(IoError::failed(self.operation, self.path.clone(), error))),
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            drop(reply.fail(IoError::closed(self.operation, self.path.clone())));
        }
    }
}

/// What the stop domain closes at the end of a shutdown. Holds the backends alone, so it keeps no thread alive.
struct IoService {
    transfers: Arc<dyn backend::Backend>,
    /// `None` where it is also `transfers`.
    pool: Option<Arc<Pool>>,
}

impl Service for IoService {
    fn close(&self, deadline: Instant) -> Leaked {
        let mut leaked = self.transfers.close(deadline);
        if let Some(pool) = &self.pool {
            let more = backend::Backend::close(&**pool, deadline);
            leaked.operations += more.operations;
            leaked.bytes += more.bytes;
            leaked.threads += more.threads;
        }
        leaked
    }
}

fn owed(operation: &'static str, object: Object, offset: u64, len: usize) -> Owed {
    Owed { operation, object: Some(object), offset, length: len as u64 }
}

/// The kernel's offsets are signed, and -1 means "where the file is": neither may be reached from here.
fn in_range(offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= i64::MAX as u64 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the offset is beyond the largest file")),
    }
}
