//! An operation: what it is to do, what it owns for that, and to whom it owes the result.
//!
//! # Invariants
//!
//! - **Owns**: an operation owns its buffer, its file (a counted handle) and its path. Nobody else can reach the buffer.
//! - **Once**: an operation ends exactly once, by [`Op::finish`] or [`Op::refuse`], which take it by value. The backend calls them only
//!   when the kernel is through with the operation, or was never given it. So what an operation owns outlives the kernel's use of it
//!   (law L4), whatever becomes of who waits for it.
//! - **Handed back**: a result that nobody wants any more (the completion was dropped, stopped or timed out) is dropped here, once: a
//!   buffer is freed, a file that was opened is closed by the backend.
//!
//! Neither this file nor the pool contains `unsafe`: only a ring takes an operation's buffer as addresses, see `uring::flight`.

use std::{
    cell::Cell,
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use super::{
    backend::Backends,
    buf::{IoBuf, IoBufMut},
    error::IoError,
    file::{File, Opened},
    mounts,
    options::OpenOptions,
    reply::Reply,
};

/// The most bytes that Linux moves in one call.
pub(super) const MOST: usize = 0x7fff_f000;

/// See the head of this file.
pub(super) enum Op {
    Read {
        file: Arc<Opened>,
        offset: u64,
        len: usize,
        /// All of it or an error, in as many calls as it takes; otherwise what one call gives.
        exact: bool,
        target: Box<dyn Target>,
    },
    /// All of the source is written, in as many calls as it takes.
    Write {
        file: Arc<Opened>,
        offset: u64,
        len: usize,
        source: Box<dyn Source>,
    },
    Sync {
        file: Arc<Opened>,
        data_only: bool,
        reply: Reply<()>,
    },
    Open(Box<Open>),
    /// With the number of its file system, 0 if that is not known.
    Close(OwnedFd, u64),
}

pub(super) struct Open {
    /// For errors and reports: with the directory's path before it.
    pub(super) path: Arc<Path>,
    /// Where a relative name begins; the process's working directory if `None`.
    pub(super) dir: Option<Arc<Opened>>,
    /// The name for the kernel.
    pub(super) name: CString,
    pub(super) options: OpenOptions,
    pub(super) reply: Reply<File>,
    pub(super) home: Arc<Backends>,
}

impl Open {
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        match &self.dir {
            Some(dir) => dir.fd(),
            None => rustix::fs::CWD.as_fd(),
        }
    }
}

/// What the kernel is through with an operation with.
pub(super) enum Outcome {
    /// So many bytes were moved, or (for the others) it is done.
    Moved(usize),
    Opened(OwnedFd),
}

/// A buffer to read into, of a type that the backends do not know, and to whom it goes.
pub(super) trait Target: Send {
    fn bytes_mut(&mut self) -> &mut [u8];
    fn is_wanted(&self) -> bool;
    fn finish(self: Box<Self>, result: Result<usize, IoError>);
}

/// A buffer to write from, of a type that the backends do not know, and to whom it goes.
pub(super) trait Source: Send {
    /// Called on an exclusive reference, although nothing is changed: see `Transfer::buf`.
    fn bytes(&mut self) -> &[u8];
    fn is_wanted(&self) -> bool;
    fn finish(self: Box<Self>, result: Result<usize, IoError>);
}

/// To whom a buffer goes back with its result.
pub(super) trait Deliver<B>: Send {
    fn is_wanted(&self) -> bool;
    fn deliver(self, result: Result<B, IoError<B>>);
}

impl<B: Send + 'static> Deliver<B> for Reply<B, IoError<B>> {
    fn is_wanted(&self) -> bool {
        Reply::is_wanted(self)
    }

    fn deliver(self, result: Result<B, IoError<B>>) {
        self.finish(result);
    }
}

/// The one implementation of [`Target`] and [`Source`].
pub(super) struct Transfer<B, D> {
    /// In a `Cell`, so that a shared reference to the whole says nothing about the bytes while the kernel has them: `uring::flight` asks
    /// `is_wanted` then.
    buf: Cell<B>,
    reply: D,
}

impl<B: Send + 'static, D: Deliver<B>> Transfer<B, D> {
    pub(super) fn new(buf: B, reply: D) -> Box<Self> {
        Box::new(Transfer { buf: Cell::new(buf), reply })
    }

    fn end(self, result: Result<usize, IoError>) {
        let buf = self.buf.into_inner();
        self.reply.deliver(match result {
            Ok(_) => Ok(buf),
            Err(error) => Err(error.carrying(buf)),
        });
    }
}

impl<B: IoBufMut, D: Deliver<B>> Target for Transfer<B, D> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut().bytes_mut()
    }

    fn is_wanted(&self) -> bool {
        self.reply.is_wanted()
    }

    fn finish(mut self: Box<Self>, result: Result<usize, IoError>) {
        if let Ok(read) = result {
            self.buf.get_mut().cut(read);
        }
        self.end(result);
    }
}

impl<B: IoBuf, D: Deliver<B>> Source for Transfer<B, D> {
    fn bytes(&mut self) -> &[u8] {
        self.buf.get_mut().bytes()
    }

    fn is_wanted(&self) -> bool {
        self.reply.is_wanted()
    }

    fn finish(self: Box<Self>, result: Result<usize, IoError>) {
        self.end(result);
    }
}

/// What to make of an exact read that has `done` bytes of `len` after a call that gave `moved`: `None` if it is to go on.
///
/// A file that is read past the page cache ends where a call gives less than a sector's multiple: the rest could not be asked for.
pub(super) fn exact_read(file: &Opened, moved: usize, done: usize, len: usize) -> Option<io::Result<usize>> {
    if done >= len {
        return Some(Ok(done));
    }
    let at_its_end = moved == 0 || (file.is_direct() && done % 512 != 0);
    at_its_end.then(|| {
        let text = format!("the file ends after {done} of {len} bytes");
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    })
}

/// How an operation on a file is called: fsync's two forms are one operation here.
fn sync_name(data_only: bool) -> &'static str {
    if data_only { "fdatasync" } else { "fsync" }
}

impl Op {
    /// The bytes of memory that the operation keeps for the kernel.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Op::Read { len, .. } | Op::Write { len, .. } => *len,
            Op::Sync { .. } | Op::Open(_) | Op::Close(..) => 0,
        }
    }

    /// Whether anybody waits for the result.
    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Op::Read { target, .. } => target.is_wanted(),
            Op::Write { source, .. } => source.is_wanted(),
            Op::Sync { reply, .. } => reply.is_wanted(),
            Op::Open(open) => open.reply.is_wanted(),
            Op::Close(..) => true,
        }
    }

    /// The number of the file system on which it may get stuck; 0 if that is not known. For a file's first operation the kernel is asked, which answers from memory
    /// (but on a cluster file system, where this may wait); never for a close.
    pub(super) fn device(&self) -> u64 {
        match self {
            Op::Read { file, .. } | Op::Write { file, .. } | Op::Sync { file, .. } => file.find_device(),
            Op::Open(open) => match &open.dir {
                Some(dir) => dir.find_device(),
                None => mounts::device_at(&open.path),
            },
            Op::Close(_, device) => *device,
        }
    }

    /// Whether it may be left undone when nobody wants its result: it changes nothing that lasts.
    pub(super) fn is_idle_question(&self) -> bool {
        match self {
            Op::Read { .. } => true,
            Op::Open(open) => !open.options.changes_files(),
            Op::Write { .. } | Op::Sync { .. } | Op::Close(..) => false,
        }
    }

    /// Ends the operation with what the kernel said. The kernel must be through with it.
    pub(super) fn finish(self, result: io::Result<Outcome>) {
        let moved = |result: io::Result<Outcome>| {
            result.map(|outcome| match outcome {
                Outcome::Moved(bytes) => bytes,
                Outcome::Opened(_) => unreachable!("only an open opens"),
            })
        };
        match self {
            Op::Read { file, offset, target, .. } => {
                target.finish(moved(result).map_err(|e| IoError::failed("read", file.path.clone(), e).at(offset)));
            }
            Op::Write { file, offset, source, .. } => {
                source.finish(moved(result).map_err(|e| IoError::failed("write", file.path.clone(), e).at(offset)));
            }
            Op::Sync { file, data_only, reply } => {
                let failed = |error| IoError::failed(sync_name(data_only), file.path.clone(), error);
                reply.finish(moved(result).map(drop).map_err(failed));
            }
            Op::Open(open) => {
                let Open { path, options, reply, home, .. } = *open;
                reply.finish(match result {
                    Ok(Outcome::Opened(fd)) => Ok(File::new(fd, path, options.is_direct(), home)),
                    Ok(Outcome::Moved(_)) => unreachable!("an open moves no bytes"),
                    Err(error) => Err(IoError::failed("open", path, error)),
                });
            }
            // An error of close says that earlier writes were lost; who needs to know calls fsync. The descriptor is gone either way.
            Op::Close(..) => {}
        }
    }

    /// Ends an operation that no kernel was given, because the service is closed. A descriptor to be closed comes back.
    pub(super) fn refuse(self) -> Option<OwnedFd> {
        match self {
            Op::Read { file, offset, target, .. } => {
                target.finish(Err(IoError::closed("read", file.path.clone()).at(offset)))
            }
            Op::Write { file, offset, source, .. } => {
                source.finish(Err(IoError::closed("write", file.path.clone()).at(offset)))
            }
            Op::Sync { file, data_only, reply } => {
                reply.finish(Err(IoError::closed(sync_name(data_only), file.path.clone())));
            }
            Op::Open(open) => {
                let Open { path, reply, .. } = *open;
                reply.finish(Err(IoError::closed("open", path)));
            }
            Op::Close(fd, _) => return Some(fd),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Io;

    /// The end of a file that is read past the page cache is where less than a sector's multiple comes.
    #[test]
    fn an_exact_read_ends_with_the_file() {
        let stop = crate::Stop::new("test");
        let io = Io::new(&stop).expect("a backend");
        let opened = |direct| {
            let null = std::fs::File::open("/dev/null").expect("there");
            File::new(null.into(), Path::new("null").into(), direct, Arc::clone(&io.backends))
        };
        let (direct, plain) = (opened(true), opened(false));
        let ends = |file: &File, moved, done| exact_read(&file.0, moved, done, 8192).map(|result| result.ok());
        assert_eq!(
            (ends(&direct, 512, 512), ends(&direct, 100, 612), ends(&direct, 0, 512)),
            (None, Some(None), Some(None))
        );
        assert_eq!((ends(&plain, 512, 512), ends(&plain, 100, 612), ends(&plain, 0, 512)), (None, None, Some(None)));
        assert_eq!((ends(&direct, 512, 8192), ends(&plain, 1, 8192)), (Some(Some(8192)), Some(Some(8192))));
        drop((direct, plain));
        assert!(stop.shutdown(crate::Plan::within(std::time::Duration::from_secs(30))).is_clean());
    }
}
