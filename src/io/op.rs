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

use std::{cell::Cell, ffi::CString, io, os::fd::OwnedFd, path::Path, sync::Arc};

use super::{
    backend::Backends,
    buf::{IoBuf, IoBufMut},
    error::IoError,
    file::{File, OpenOptions, Opened},
};
use crate::Completer;

/// The most bytes that Linux moves in one call.
pub(super) const MOST: usize = 0x7fff_f000;

/// See the head of this file.
pub(super) enum Op {
    Read {
        file: Arc<Opened>,
        offset: u64,
        len: usize,
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
        reply: Completer<(), IoError>,
    },
    Open(Box<Open>),
    Close(OwnedFd),
}

pub(super) struct Open {
    pub(super) path: Arc<Path>,
    /// The same path for the kernel.
    pub(super) name: CString,
    pub(super) options: OpenOptions,
    pub(super) reply: Completer<File, IoError>,
    pub(super) home: Arc<Backends>,
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

/// The one implementation of [`Target`] and [`Source`].
pub(super) struct Transfer<B> {
    /// In a `Cell`, so that a shared reference to the whole says nothing about the bytes while the kernel has them: `uring::flight` asks
    /// `is_wanted` then.
    buf: Cell<B>,
    reply: Completer<B, IoError<B>>,
}

impl<B: Send + 'static> Transfer<B> {
    pub(super) fn new(buf: B, reply: Completer<B, IoError<B>>) -> Box<Self> {
        Box::new(Transfer { buf: Cell::new(buf), reply })
    }

    fn fail(self, error: IoError) {
        let Transfer { buf, reply } = self;
        drop(reply.fail(error.carrying(buf.into_inner())));
    }
}

impl<B: IoBufMut> Target for Transfer<B> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut().bytes_mut()
    }

    fn is_wanted(&self) -> bool {
        self.reply.is_wanted()
    }

    fn finish(mut self: Box<Self>, result: Result<usize, IoError>) {
        match result {
            Ok(read) => {
                self.buf.get_mut().cut(read);
                drop(self.reply.complete(self.buf.into_inner()));
            }
            Err(error) => self.fail(error),
        }
    }
}

impl<B: IoBuf> Source for Transfer<B> {
    fn bytes(&mut self) -> &[u8] {
        self.buf.get_mut().bytes()
    }

    fn is_wanted(&self) -> bool {
        self.reply.is_wanted()
    }

    fn finish(self: Box<Self>, result: Result<usize, IoError>) {
        match result {
            Ok(_) => drop(self.reply.complete(self.buf.into_inner())),
            Err(error) => self.fail(error),
        }
    }
}

impl Op {
    /// The bytes of memory that the operation keeps for the kernel.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Op::Read { len, .. } | Op::Write { len, .. } => *len,
            Op::Sync { .. } | Op::Open(_) | Op::Close(_) => 0,
        }
    }

    /// Whether anybody waits for the result.
    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Op::Read { target, .. } => target.is_wanted(),
            Op::Write { source, .. } => source.is_wanted(),
            Op::Sync { reply, .. } => reply.is_wanted(),
            Op::Open(open) => open.reply.is_wanted(),
            Op::Close(_) => true,
        }
    }

    /// Whether it may be left undone when nobody wants its result: it changes nothing that lasts.
    pub(super) fn is_idle_question(&self) -> bool {
        match self {
            Op::Read { .. } => true,
            Op::Open(open) => !open.options.changes_files(),
            Op::Write { .. } | Op::Sync { .. } | Op::Close(_) => false,
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
            Op::Sync { file, reply, .. } => match moved(result) {
                Ok(_) => drop(reply.complete(())),
                Err(error) => drop(reply.fail(IoError::failed("fsync", file.path.clone(), error))),
            },
            Op::Open(open) => {
                let Open { path, options, reply, home, .. } = *open;
                match result {
                    Ok(Outcome::Opened(fd)) => drop(reply.complete(File::new(fd, path, options.is_direct(), home))),
                    Ok(Outcome::Moved(_)) => unreachable!("an open moves no bytes"),
                    Err(error) => drop(reply.fail(IoError::failed("open", path, error))),
                }
            }
            // An error of close says that earlier writes were lost; who needs to know calls fsync. The descriptor is gone either way.
            Op::Close(_) => {}
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
            Op::Sync { file, reply, .. } => drop(reply.fail(IoError::closed("fsync", file.path.clone()))),
            Op::Open(open) => {
                let Open { path, reply, .. } = *open;
                drop(reply.fail(IoError::closed("open", path)));
            }
            Op::Close(fd) => return Some(fd),
        }
        None
    }
}
