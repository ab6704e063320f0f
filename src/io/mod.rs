//! Metadata I/O as completions: opens, reads, writes, `stat`, directories and whatever else blocks, with waits that a stop ends, whatever the
//! storage does.
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
//! Every operation gives a [`Completion`]: a thread waits for it, a task awaits it, a monitor's guard waits with the lock let go, each
//! with a deadline if need be; and it is cancelled or dropped when nobody wants it any more.
//!
//! | to | see |
//! |---|---|
//! | open, also beneath a directory and without links | [`Io::open`], [`Io::open_in`], [`Resolve`] |
//! | read, all of a buffer, many ranges at once; write; make durable | [`Io::read_at`], [`Io::read_exact_at`], [`Io::read_ranges`], [`Io::write_at`], [`Io::fsync`] |
//! | look at files and directories | [`Io::stat`], [`Io::stat_many`], [`Io::read_dir`] |
//! | change names | [`Io::rename`], [`Io::remove_file`], [`Io::create_dir`] |
//! | do anything else that blocks | [`Io::run_blocking`] |
//! | wait for a client library or a device of one's own, and close it | [`Io::external`], [`Io::on_close`] |
//! | keep a window of reads going | [`Ordered`], [`Unordered`] |
//! | see what it does | [`Io::metrics`] |
//!
//! # What a stop does, and what it cannot do
//!
//! A stop ends the *wait* for an operation, at once. It cannot end a read that a disk has begun: the kernel writes into the buffer when the
//! disk answers. So an operation owns its buffer, its file and its path until the kernel is through with it; a wait that was stopped or
//! timed out does not give the buffer back, an operation that failed does. What the kernel still has when the deadline of a shutdown comes stays
//! with it, is counted in the [report](crate::Stop::shutdown), and is freed if the storage answers after all.
//!
//! # Until the process is gone
//!
//! A stop that was on time is half of it: the kernel ends a process only when each of its threads, its workers for the ring among them, has come back. Seen on
//! Linux 6.18 (`tests/io_gone.rs`), from SIGTERM to the end of the process, with a shutdown that gives up after 20 ms:
//!
//! | what hangs | on io_uring | on the pool | because |
//! |---|---|---|---|
//! | open, stat, read, write, fsync, read_dir on FUSE whose process has stopped, so that it does not read the request | gone at once | gone at once | the wait for an unread request ends by a signal that kills, which an exit is to the other threads |
//! | the same on FUSE whose process has read the request and does not answer | not before it answers or ends | the same | `request_wait_answer` waits for what was read, and heeds no signal; the file `abort` of the connection in `/sys/fs/fuse/connections` ends it |
//! | the close of a file on FUSE, also the one that the process's end is | the same | the same | `fuse_flush` is sent by force, and waited for so |
//! | a buffered read of a disk | gone at once | gone at once | the wait for a page to be read is `TASK_KILLABLE` |
//! | a direct read of a disk | gone at once | not before the disk answers | a ring waits for nobody; a thread waits uninterruptibly (`D`), because the disk writes to the process's memory |
//! | an fsync of what was written, on a disk | not before it answers | the same | the wait for pages in writeback is uninterruptible |
//!
//! What cannot die in this table is not ended by SIGKILL either, and by no program's doing. The next life need not wait for it: sockets that listen and
//! files that are locked are descriptors, and a daemon lets them go (drops them) before its shutdown or in a phase of it; then another
//! process can take them, whatever of this one is still there.
//!
//! # Backends
//!
//! io_uring, with one ring that one thread of its own submits to and reaps; where the kernel refuses that (an old kernel, a container's
//! seccomp filter) a pool of threads, and [`Io::fallback_reason`] says why. Both keep the same contract. The environment variable
//! `UNWEDGE_IO` set to `uring` or `pool` overrides [`Backend::Auto`].
//!
//! The pool is there beside a ring too, for what the ring does worse (`stat`) or not at all. It grows when its threads are stuck, and no
//! file system gets more than a share of them: a dead mount keeps nobody else waiting.
//!
//! On which file system an open file is, the kernel is asked before the first operation on it (`statx`, with `AT_STATX_DONT_SYNC`): by who calls where there is
//! a ring, and by a thread of the pool for what goes there. It answers from memory, but for gfs2 and ocfs2, which ask their cluster, 9p, which asks its server
//! unless its cache is a loose one, and CIFS where what it knew is no longer good: there this question may hang as an operation does, and with it the
//! caller, whom no stop brings back. For metadata on one of these choose [`Backend::Pool`].
//!
//! Which one a path leads to is looked up in the kernel's table of mounts, which is read again when it is older than a second: for [`Io::stat_many`] and
//! [`Io::open`] by who calls. What the kernel writes there it has in memory, but for the name of a btrfs subvolume, which it looks up in the file system each
//! time: where a btrfs is mounted whose device is dead, that may hang too.
//!
//! # What is done on the caller's thread
//!
//! Besides the questions above only what waits for nobody: a read of a buffered file whose pages are in the page cache (`RWF_NOWAIT`), and an open for reading
//! of a name that the kernel has in its caches (`RESOLVE_CACHED`) and that leads to a file on a local file system (ext4, xfs, btrfs, tmpfs and the like, not
//! those that would ask a server or a daemon), or to a directory on one that needs no device for that (not xfs, btrfs). Such an operation wakes no thread.
//!
//! What the kernel does all the same: a listener for fanotify's permission events is asked, and blocks whom it likes; a policy of IMA's may have files read
//! when they are opened; a file with fs-verity is looked at when it is opened first; gfs2, ocfs2, 9p and CIFS may ask when the folder on which they are mounted,
//! and no name in it, is opened; a read, or a symbolic link that is followed, may have its time of access to note, for which the journal of a dead
//! disk may have no room: mount `noatime` what a daemon reads under its lock.
//!
//! # Which domain
//!
//! An [`Io`] belongs to a stop domain: after its stop is requested every operation is refused, and every wait ends. The phases of a shutdown
//! do their I/O through [`Io::with`], on the same backend, which is closed as the last step of the shutdown.
//!
//! # After a fork
//!
//! A child of `fork` has none of its parent's threads, so an `Io` belongs to the process that made it: in the child its operations fail with an
//! [error that says so](IoError::is_forked) (or are [`Abandoned`](crate::Abandoned) where the error is that), and none hangs. What was begun
//! before the fork is the parent's: in the child nobody completes it, and a wait for it there ends by a stop or a deadline alone. A daemon that forks
//! to go into the background makes its [`Stop`] before or after, and its `Io` and threads after.
//!
//! It must fork while no other thread of the process starts or ends. Rust's std keeps a table of its threads' stacks, behind a lock: in a child that was copied
//! while a thread had that lock, no thread that is started, an `Io`'s included, gets past its start (seen with Rust 1.95).

use std::{fmt, io, os::fd::OwnedFd, path::Path, sync::Arc};

mod backend;
mod buf;
mod builder;
mod closer;
mod closing;
mod data;
mod deadline;
mod dir;
mod error;
mod export;
mod external;
mod file;
mod fork;
mod gather;
mod job;
#[expect(clippy::disallowed_types, reason = "what is counted is not modelled: a shard is made under a OnceLock")]
mod meter;
mod mounts;
mod names;
mod op;
mod options;
mod pool;
mod quick;
mod reply;
mod seat;
mod shares;
mod stat;
#[cfg(feature = "uring")]
mod uring;

pub use buf::{IoBuf, IoBufMut};
pub use builder::{Backend, IoBuilder};
pub use dir::{DirEntry, ReadDir};
pub use error::IoError;
pub use external::{ExternalCompleter, ExternalCompletion};
pub use file::File;
pub use meter::{Counts, Metrics, Operation};
pub use options::{OpenOptions, Resolve};
pub use stat::{FileKind, Metadata, Timestamp};

pub use crate::stream::{Ordered, Unordered};

use crate::{Completion, Object, Owed, Stop, registry::flight::Flight, sys::Relaxed, wait::debtor::Debtor};
use backend::Backends;
use error::Cause;
use external::Externals;
use meter::Meter;
use op::Op;
use reply::{Failure, Reply};

/// Metadata I/O for one domain: see the [module](self). Cheap to clone.
///
/// | file | what it does |
/// |---|---|
/// | `names` | open, rename, remove, make |
/// | `data` | read, write, sync |
/// | `stat`, `dir` | what files are, what directories have |
/// | `job`, `external`, `closing` | what the user's or foreign code does |
#[derive(Clone)]
pub struct Io {
    backends: Arc<Backends>,
    /// With the domain, of which there is one for each of them.
    externals: Arc<Externals>,
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

    /// Chooses the backend, its size and more.
    pub fn builder(domain: &Stop) -> IoBuilder {
        IoBuilder::new(domain)
    }

    /// The same backend for another domain: for a phase of a shutdown, or a child.
    #[must_use]
    pub fn with(&self, domain: &Stop) -> Io {
        Io { backends: Arc::clone(&self.backends), externals: Externals::new(domain) }
    }

    /// `"uring"` or `"pool"`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backends.transfers.name()
    }

    /// Why there is no io_uring, where it was wanted and refused.
    #[must_use]
    pub fn fallback_reason(&self) -> Option<&str> {
        self.backends.fallback.as_deref()
    }

    /// What was done so far, and what is in flight: of this backend, for all the domains that use it.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let threads = if self.backends.birth.is_here() { self.backends.pool.threads() } else { 0 };
        self.meter().snapshot(self.backend(), self.backends.fallback.clone(), threads)
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

    fn domain(&self) -> &Stop {
        self.externals.domain()
    }

    fn meter(&self) -> &Arc<Meter> {
        &self.backends.meter
    }

    /// Why nothing may be begun, if nothing may.
    #[inline]
    fn refusal(&self) -> Option<Cause> {
        if !self.backends.birth.is_here() {
            Some(Cause::Forked)
        } else if self.domain().is_requested() || self.backends.closed.load(Relaxed) != 0 {
            Some(Cause::Closed)
        } else {
            None
        }
    }

    /// An operation's two ends, with the deadline of operations if there is one. `about` is what a report shows: the object, an offset and a
    /// length; without it, the path's last part.
    fn owe<T: Send + 'static, E: Failure>(
        &self,
        kind: Operation,
        name: &'static str,
        path: &Arc<Path>,
        about: Option<(Object, u64, usize)>,
    ) -> (Reply<T, E>, Completion<T, E>) {
        let (object, offset, len) = about.unwrap_or_else(|| (file::object(path), 0, 0));
        let flight = self.flight(name, &object, offset, len as u64);
        let owed = Owed { operation: name, object: Some(object), offset, length: len as u64 };
        let (completer, completion) = Completion::new(owed, self.domain());
        completer.owed_by(Debtor::Storage);
        let Some(deadlines) = &self.backends.deadlines else {
            return (Reply::new(completer, kind, self.meter(), flight), completion);
        };
        let error = IoError::refused(name, path.clone(), Cause::TimedOut);
        let error = if matches!(kind, Operation::Read | Operation::Write) { error.at(offset) } else { error };
        let (reply, expires) = Reply::timed(completer, kind, self.meter(), flight, error);
        deadlines.add(expires);
        (reply, completion)
    }

    /// A report sees an operation for as long as what is given here is there.
    fn flight(&self, operation: &str, object: &str, offset: u64, length: u64) -> Flight {
        Flight::begin(operation, object, offset, length, *self.domain().domain())
    }

    fn submit(&self, op: Op) {
        if let Err(op) = self.backends.transfers.submit(op) {
            // Never a close: those are submitted by the files themselves.
            drop(op.refuse());
        }
    }

    fn run(&self, place: pool::Place, job: Box<dyn pool::Job>) {
        self.backends.pool.run(place, job);
    }

    fn ready_error<B>(&self, error: IoError, buf: B) -> Completion<B, IoError<B>> {
        Completion::ready(Err(error.carrying(buf)), self.domain())
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("backend", &self.backend()).finish_non_exhaustive()
    }
}
