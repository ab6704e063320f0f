//! An operation while the kernel has it: its memory as addresses.
//!
//! # Invariants, cited by the SAFETY comments here and in `kernel`
//!
//! - **Lent**: [`Flight::begin`] gives up the ownership of a transfer's box (`Box::into_raw`) and asks for its bytes once, through a
//!   reference that lives for `'static`: see `buf`. From then until [`Flight::end`] the box is neither moved nor freed, and no reference to its
//!   content is made but the shared ones of [`Flight::is_wanted`]. Those may overlap with the lent bytes in a `Cell` only (`op::Transfer`
//!   keeps its buffer in one), as a `RefCell` and what was borrowed from it do, and they do not look into it.
//! - **Boxed**: what an open gives the addresses of (its name, and what is asked for) lies on the heap, in boxes that its flight keeps until then; to
//!   move the flight moves neither.
//! - **Ended once**: `end` takes the flight by value. It is called when the completion for it has arrived, or when its entry was not given to the
//!   kernel: so the kernel has no use for the addresses any more. Only there the box comes back.
//! - **Not dropped**: a `Flight` has no destructor that frees the memory; one that is dropped leaks it. The owner keeps its flights
//!   until the last one has ended, and the process aborts if the owner panics.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
    sync::Arc,
};

use io_uring::{opcode, squeue, types};
use rustix::io::Errno;

use crate::io::{
    file::Opened,
    op::{MOST, Op, Open, Outcome, Source, Target, exact_read},
    reply::Reply,
};

/// See the head of this file.
pub(super) struct Flight {
    load: Load,
    len: usize,
    /// An accident was answered by one more try.
    retried: bool,
    /// The file has no offsets: a pipe or a socket.
    stream: bool,
}

/// As an offset: the file's own position, or for a stream nothing.
const NO_OFFSET: u64 = u64::MAX;

enum Load {
    Read {
        file: Arc<Opened>,
        offset: u64,
        target: NonNull<dyn Target>,
        bytes: NonNull<u8>,
        exact: bool,
        done: usize,
    },
    Write {
        file: Arc<Opened>,
        offset: u64,
        source: NonNull<dyn Source>,
        bytes: NonNull<u8>,
        done: usize,
    },
    Sync {
        file: Arc<Opened>,
        data_only: bool,
        reply: Reply<()>,
    },
    /// What is asked for lies in a box of its own, because the kernel is given its address.
    Open(Box<Open>, Box<types::OpenHow>),
    /// The kernel closes it: from here on it is nobody else's.
    Close(RawFd),
}

type Landing = super::engine::Landing<io::Result<Outcome>>;

impl Flight {
    /// Makes an operation ready for the kernel. `None` if a method of the user's buffer panicked: then the operation is dropped, which tells
    /// its waiter.
    pub(super) fn begin(op: Op) -> Option<Flight> {
        let len = op.bytes();
        let load = match op {
            Op::Read { file, offset, exact, target, .. } => {
                let (target, bytes) = lend_target(target)?;
                return Some(Flight::new(
                    Load::Read { file, offset, target, bytes: bytes.cast(), exact, done: 0 },
                    bytes.len(),
                ));
            }
            Op::Write { file, offset, source, .. } => {
                let (source, bytes) = lend_source(source)?;
                return Some(Flight::new(
                    Load::Write { file, offset, source, bytes: bytes.cast(), done: 0 },
                    bytes.len(),
                ));
            }
            Op::Sync { file, data_only, reply } => Load::Sync { file, data_only, reply },
            Op::Open(open) => {
                let how = types::OpenHow::new()
                    .flags(open.options.flags().bits().into())
                    .mode(open.options.permissions().bits().into())
                    .resolve(open.options.resolve_flags().bits());
                Load::Open(open, Box::new(how))
            }
            Op::Close(fd, _) => Load::Close(fd.into_raw_fd()),
        };
        Some(Flight::new(load, len))
    }

    fn new(load: Load, len: usize) -> Flight {
        Flight { load, len, retried: false, stream: false }
    }

    /// The bytes of memory that the kernel may use.
    pub(super) fn bytes(&self) -> usize {
        self.len
    }

    /// Whether a cancel may be sent: what was written, synced or closed is left to end by itself.
    pub(super) fn may_be_cancelled(&self) -> bool {
        match &self.load {
            Load::Read { .. } => true,
            Load::Open(open, _) => !open.options.changes_files(),
            Load::Write { .. } | Load::Sync { .. } | Load::Close(_) => false,
        }
    }

    /// Whether anybody waits for the result.
    pub(super) fn is_wanted(&self) -> bool {
        match &self.load {
            Load::Read { target, .. } => {
                // SAFETY: by Lent and Ended once the box is alive, and there is no other reference to it but one into its `Cell`, which this shared
                // one does not look into.
                let target = unsafe { target.as_ref() };
                target.is_wanted()
            }
            Load::Write { source, .. } => {
                // SAFETY: as for a read.
                let source = unsafe { source.as_ref() };
                source.is_wanted()
            }
            Load::Sync { reply, .. } => reply.is_wanted(),
            Load::Open(open, _) => open.reply.is_wanted(),
            Load::Close(_) => true,
        }
    }

    /// The entry for the submission queue. The addresses in it are good until [`end`](Flight::end).
    ///
    /// What might block the thread on which the kernel tries it goes to a kernel worker at once: see `file`. An `open` and a `close` always do: they call
    /// into the file system, and a FUSE daemon that does not answer would stop the owner, and with it the ring.
    pub(super) fn entry(&self) -> squeue::Entry {
        let entry = self.operation();
        let harmless = match &self.load {
            Load::Read { file, .. } | Load::Write { file, .. } => file.never_blocks_a_submitter(),
            // The kernel does this by itself.
            Load::Sync { .. } => true,
            Load::Open(..) | Load::Close(_) => false,
        };
        if harmless { entry } else { entry.flags(squeue::Flags::ASYNC) }
    }

    fn operation(&self) -> squeue::Entry {
        match &self.load {
            Load::Read { file, offset, bytes, done, .. } => {
                let rest = (self.len - done).min(MOST) as u32;
                let bytes = bytes.as_ptr().wrapping_add(*done);
                let offset = if self.stream { NO_OFFSET } else { *offset + *done as u64 };
                opcode::Read::new(types::Fd(file.fd().as_raw_fd()), bytes, rest).offset(offset).build()
            }
            Load::Write { file, offset, bytes, done, .. } => {
                let rest = (self.len - done).min(MOST) as u32;
                let bytes = bytes.as_ptr().wrapping_add(*done);
                let offset = if self.stream { NO_OFFSET } else { *offset + *done as u64 };
                opcode::Write::new(types::Fd(file.fd().as_raw_fd()), bytes, rest).offset(offset).build()
            }
            Load::Sync { file, data_only, .. } => {
                let flags = if *data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
                opcode::Fsync::new(types::Fd(file.fd().as_raw_fd())).flags(flags).build()
            }
            Load::Open(open, how) => {
                opcode::OpenAt2::new(types::Fd(open.dir().as_raw_fd()), open.name.as_ptr(), &raw const **how).build()
            }
            Load::Close(fd) => opcode::Close::new(types::Fd(*fd)).build(),
        }
    }

    /// Takes the result of a completion for this flight.
    pub(super) fn land(&mut self, result: i32, cancelled: bool) -> Landing {
        let moved = match usize::try_from(result) {
            Ok(moved) => moved,
            Err(_) => return self.land_with(Errno::from_raw_os_error(-result), cancelled),
        };
        match &mut self.load {
            Load::Read { file, exact: true, done, .. } => {
                *done += moved;
                match exact_read(file, moved, *done, self.len) {
                    Some(result) => Landing::Ended(result.map(Outcome::Moved)),
                    None => Landing::Again,
                }
            }
            Load::Write { done, .. } => {
                *done += moved;
                if *done >= self.len {
                    Landing::Ended(Ok(Outcome::Moved(*done)))
                } else if moved == 0 {
                    Landing::Ended(Err(io::ErrorKind::WriteZero.into()))
                } else {
                    Landing::Again
                }
            }
            Load::Open(..) => {
                // SAFETY: the completion of an open brings a new descriptor that is nobody's yet, and by Ended once this is its only completion.
                let fd = unsafe { OwnedFd::from_raw_fd(result) };
                Landing::Ended(Ok(Outcome::Opened(fd)))
            }
            Load::Read { .. } | Load::Sync { .. } | Load::Close(_) => Landing::Ended(Ok(Outcome::Moved(moved))),
        }
    }

    fn land_with(&mut self, error: Errno, cancelled: bool) -> Landing {
        let accident = match &self.load {
            // The descriptor is gone whatever close says (a file system may say anything): closed once more it may be somebody else's.
            Load::Close(_) => false,
            // A kernel worker may be interrupted for reasons of its own; a read that was is harmless to repeat.
            _ if error == Errno::INTR => true,
            Load::Read { .. } | Load::Write { .. } if error == Errno::SPIPE => {
                !std::mem::replace(&mut self.stream, true)
            }
            Load::Read { .. } => {
                matches!(error, Errno::CANCELED | Errno::FAULT) && !std::mem::replace(&mut self.retried, true)
            }
            Load::Write { .. } | Load::Sync { .. } | Load::Open(..) => false,
        };
        if accident && !cancelled { Landing::Again } else { Landing::Ended(Err(error.into())) }
    }

    /// Ends the operation: what it owned and its result go to who waits, or are dropped. Only when the kernel is through with it, or never had it.
    pub(super) fn end(self, result: io::Result<Outcome>) {
        let len = self.len;
        let op = match self.load {
            Load::Read { file, offset, target, exact, .. } => {
                // SAFETY: by Lent the pointer came from a box that was given up, and by Ended once it is taken back this one time, when neither the kernel nor
                // anybody else has a use for what it was lent.
                let target = unsafe { Box::from_raw(target.as_ptr()) };
                Op::Read { file, offset, len, exact, target }
            }
            Load::Write { file, offset, source, .. } => {
                // SAFETY: as for a read.
                let source = unsafe { Box::from_raw(source.as_ptr()) };
                Op::Write { file, offset, len, source }
            }
            Load::Sync { file, data_only, reply } => Op::Sync { file, data_only, reply },
            Load::Open(open, _) => Op::Open(open),
            Load::Close(_) => return,
        };
        op.finish(result);
    }
}

/// What was given up, and its bytes.
type Lent<T> = (NonNull<T>, NonNull<[u8]>);

/// Gives up a buffer to read into for as long as the kernel works. The one place where its bytes are asked for.
fn lend_target(target: Box<dyn Target>) -> Option<Lent<dyn Target>> {
    let target = NonNull::from(Box::leak(target));
    let bytes = catch_unwind(AssertUnwindSafe(|| {
        let mut target = target;
        // SAFETY: the box was just given up, so nobody else has a reference to it.
        let target: &'static mut dyn Target = unsafe { target.as_mut() };
        NonNull::from(target.bytes_mut())
    }));
    if bytes.is_err() {
        // SAFETY: the pointer came from the box above, and what was borrowed from it went with the panic.
        drop(unsafe { Box::from_raw(target.as_ptr()) });
    }
    Some((target, bytes.ok()?))
}

/// Gives up a buffer to write from for as long as the kernel works. The one place where its bytes are asked for.
fn lend_source(source: Box<dyn Source>) -> Option<Lent<dyn Source>> {
    let source = NonNull::from(Box::leak(source));
    let bytes = catch_unwind(AssertUnwindSafe(|| {
        let mut source = source;
        // SAFETY: the box was just given up, so nobody else has a reference to it.
        let source: &'static mut dyn Source = unsafe { source.as_mut() };
        NonNull::from(source.bytes())
    }));
    if bytes.is_err() {
        // SAFETY: the pointer came from the box above, and what was borrowed from it went with the panic.
        drop(unsafe { Box::from_raw(source.as_ptr()) });
    }
    Some((source, bytes.ok()?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::{OpenOptions, Operation};

    #[test]
    fn an_open_that_changes_nothing_may_be_cancelled() {
        let stop = crate::Stop::new("test");
        let io = crate::io::Io::new(&stop).expect("a backend");
        let read = OpenOptions::new().read(true);
        for (options, may_be) in [(read, true), (read.write(true).create(true), false)] {
            let path: Arc<Path> = Path::new("/nonexistent").into();
            let (reply, _completion) = io.owe(Operation::Open, "open", &path, None);
            let home = Arc::clone(&io.backends);
            let open = Open { path, dir: None, name: c"/nonexistent".into(), options, reply, home };
            let flight = Flight::begin(Op::Open(Box::new(open))).expect("an open has no buffer");
            assert_eq!(flight.may_be_cancelled(), may_be);
            flight.end(Err(Errno::CANCELED.into()));
        }
    }

    #[test]
    fn no_descriptor_is_closed_twice() {
        for error in [Errno::CANCELED, Errno::INTR, Errno::IO, Errno::FAULT, Errno::SPIPE] {
            let landing = Flight::new(Load::Close(-1), 0).land(-error.raw_os_error(), false);
            assert!(matches!(landing, Landing::Ended(Err(_))), "{error}");
        }
    }
}
