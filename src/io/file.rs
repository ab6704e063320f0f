//! Open files, and how they are opened.
//!
//! A [`File`] is a counted handle. Whoever drops the last one only hands the descriptor to the backend: a `close` on a file system that
//! hangs blocks, and must not block a thread that holds the big lock. An operation in flight holds a handle of its own, so a descriptor is
//! never closed, and its number never reused, under an operation.
//!
//! # Who may wait for a file
//!
//! Whether a read or write can block the thread that tries it is a property of the file, and the kernel's word on it is `RWF_NOWAIT`: a file
//! that takes it returns rather than waits. On others io_uring does not help by itself: it asks `poll`, and a FUSE file, which says that it is
//! always readable, is then read on the submitting thread. Seen on Linux 6.18 with a daemon that did not answer: the thread that owned
//! the ring hung, and with it every operation. So what the caller's first read finds out is kept as the file's [`Manner`], and
//! what is not known to be harmless goes to a kernel worker.

use std::{
    fmt,
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, FileType, StatxFlags, statx},
    io::{Errno, ReadWriteFlags},
};

use super::{backend::Backends, mounts};
use crate::Object;
use crate::sys::{PlainU8, PlainU64, Relaxed};

/// An open file: cheap to clone, closed on the backend when the last clone and the last operation on it are gone.
#[derive(Clone)]
pub struct File(pub(super) Arc<Opened>);

/// What all clones of a [`File`] and the operations on it share.
pub(super) struct Opened {
    /// `Some` until `drop`.
    fd: Option<OwnedFd>,
    pub(super) path: Arc<Path>,
    /// The path's last part: what a report shows.
    pub(super) object: Object,
    /// Goes past the page cache: then a read with `RWF_NOWAIT` blocks for as long as the device takes.
    direct: bool,
    /// A [`Manner`]. Whoever finds it out writes it, at any time and always the same: so relaxed.
    manner: PlainU8,
    /// The file system's number, 0 before it was asked for. Whoever finds it out writes it, always the same: so relaxed.
    device: PlainU64,
    home: Arc<Backends>,
}

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// To be found out. Until then as `MayBlock`.
    Unknown = 0,
    /// Takes `RWF_NOWAIT`: returns rather than waits.
    Prompt = 1,
    /// A pipe or a socket: waited for by `poll`.
    Stream = 2,
    /// Blocks whoever tries.
    MayBlock = 3,
}

impl File {
    pub(super) fn new(fd: OwnedFd, path: Arc<Path>, direct: bool, home: Arc<Backends>) -> Self {
        let object = object(&path);
        let manner = PlainU8::new(Manner::Unknown as u8);
        File(Arc::new(Opened { fd: Some(fd), path, object, direct, manner, device: PlainU64::new(0), home }))
    }

    /// The path as it was given to [`Io::open`](super::Io::open), or the name given to [`Io::attach`](super::Io::attach).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Opened {
    #[inline]
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => unreachable!("a file's descriptor is taken only by its drop"),
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// The file system's number if it is known; a pool asks for it with [`find_device`](Self::find_device).
    pub(super) fn device(&self) -> Option<u64> {
        Some(self.device.load(Relaxed)).filter(|device| *device != 0)
    }

    /// Asks for the file system's number; 0 if there is none. The kernel answers from memory, but for those file systems that [`io`](super#backends) names.
    pub(super) fn find_device(&self) -> u64 {
        self.device().unwrap_or_else(|| {
            let device = device_of(self.fd());
            self.device.store(device, Relaxed);
            device
        })
    }

    #[inline]
    fn manner(&self) -> Manner {
        match self.manner.load(Relaxed) {
            1 => Manner::Prompt,
            2 => Manner::Stream,
            3 => Manner::MayBlock,
            _ => Manner::Unknown,
        }
    }

    fn learn(&self, manner: Manner) {
        self.manner.store(manner as u8, Relaxed);
    }

    /// Whether the kernel may be asked for it on a thread that must not block, because it does not wait or waits without a thread.
    #[cfg(feature = "uring")]
    pub(super) fn never_blocks_a_submitter(&self) -> bool {
        matches!(self.manner(), Manner::Prompt | Manner::Stream)
    }

    /// Reads into all of `bytes` if that is possible without waiting. Whether it was; if not, `bytes` may have been written to all the same.
    #[inline]
    pub(super) fn read_promptly(&self, bytes: &mut [u8], offset: u64) -> bool {
        match self.manner() {
            Manner::Unknown if self.direct => {
                self.find_out_by_a_misfit();
                false
            }
            Manner::Unknown | Manner::Prompt if !self.direct => {
                let result = self.read_without_waiting(bytes, offset);
                self.learn_from(result);
                // If it was less, not all of it is in the page cache, or the file ends there: the backend reads it all.
                result == Ok(bytes.len())
            }
            _ => false,
        }
    }

    #[inline]
    fn read_without_waiting(&self, bytes: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
        rustix::io::preadv2(self.fd(), &mut [IoSliceMut::new(bytes)], offset, ReadWriteFlags::NOWAIT)
    }

    /// One byte at offset 1 is aligned for no device, so that the answer comes before any I/O. That the file does not take the flag would come
    /// first.
    #[cold]
    fn find_out_by_a_misfit(&self) {
        match self.read_without_waiting(&mut [0], 1) {
            Err(Errno::INVAL) => self.learn(Manner::Prompt),
            result => self.learn_from(result),
        }
    }

    #[inline]
    fn learn_from(&self, result: rustix::io::Result<usize>) {
        match result {
            Ok(_) | Err(Errno::AGAIN) => {
                if self.manner() == Manner::Unknown {
                    self.learn(Manner::Prompt);
                }
            }
            Err(Errno::SPIPE) => self.learn(if self.is_stream() { Manner::Stream } else { Manner::MayBlock }),
            // The file system does not do this, or a filter does not know the call.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::INVAL) => self.learn(Manner::MayBlock),
            // Not a file to read from at all, which says nothing about writing.
            Err(_) => {}
        }
    }

    /// For a file that is written to and was never read.
    pub(super) fn find_out_if_unknown(&self) {
        if self.manner() == Manner::Unknown && self.is_stream() {
            self.learn(Manner::Stream);
        }
    }

    /// Whether it is a pipe or a socket, which is waited for by `poll`. Answered without waiting: of a regular file the file system is not asked (by `statx` a cluster's
    /// would ask the others), nor for a lock that who uses the file may hold for long (a seek's of its position, that of a pipe's size).
    #[cold]
    fn is_stream(&self) -> bool {
        // SAFETY: a descriptor and three numbers; without flags nothing is done but a look at the kind of the file.
        if unsafe { libc::sync_file_range(self.fd().as_raw_fd(), 0, 0, 0) } == 0 {
            // What a seek is possible in: a file, a directory, a block device.
            return false;
        }
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(self.fd(), c"", flags, StatxFlags::TYPE);
        stat.is_ok_and(|stat| {
            matches!(FileType::from_raw_mode(stat.stx_mode.into()), FileType::Fifo | FileType::Socket)
        })
    }
}

/// The number of the file system that an open file is on; 0 if it does not say. Where it is none of a device it is that of the file's mount.
pub(super) fn device_of(fd: BorrowedFd<'_>) -> u64 {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match statx(fd, c"", flags, mounts::ASKED) {
        Ok(stat) => {
            let mounts_own = (stat.stx_dev_major == 0).then(|| mounts::of(fd, &stat).device).flatten();
            mounts_own.unwrap_or_else(|| device_number(stat.stx_dev_major, stat.stx_dev_minor))
        }
        Err(Errno::NOSYS | Errno::PERM) => mounts::device_under(fd),
        Err(_) => 0,
    }
}

/// A file system's number in one word.
pub(super) fn device_number(major: u32, minor: u32) -> u64 {
    u64::from(major) << 32 | u64::from(minor)
}

/// A path's last part, for reports.
pub(super) fn object(path: &Path) -> Object {
    Object::from(path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.home.close(fd, self.device.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::OwnedFd, unix::fs::OpenOptionsExt};

    use super::Manner;
    use crate::{
        Stop,
        io::{File, Io},
    };

    const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

    fn attach(io: &Io, fd: impl Into<OwnedFd>) -> File {
        io.attach(fd, "file").expect("attached")
    }

    /// The first read finds it out, and it stays so; whether it was of use is said for each.
    #[track_caller]
    fn expect(file: &File, manner: Manner, prompt: [bool; 2]) {
        assert_eq!(file.0.manner(), Manner::Unknown);
        for prompt in prompt {
            assert_eq!(file.0.read_promptly(&mut [0; 8], 0), prompt);
            assert_eq!(file.0.manner(), manner);
            file.0.find_out_if_unknown();
        }
        #[cfg(feature = "uring")]
        assert_eq!(file.0.never_blocks_a_submitter(), manner != Manner::MayBlock);
    }

    #[test]
    fn the_first_read_finds_out_whether_a_file_waits() {
        let stop = Stop::new("test");
        let io = Io::new(&stop).expect("a backend");
        // No file of `proc` takes the flag.
        expect(&attach(&io, std::fs::File::open("/proc/self/status").expect("there")), Manner::MayBlock, [false; 2]);
        let (out, _into) = rustix::pipe::pipe().expect("a pipe");
        expect(&attach(&io, out), Manner::Stream, [false; 2]);
        // What is in memory is had at once, where the file system takes the flag.
        std::fs::read(HERE).expect("there");
        let file = attach(&io, std::fs::File::open(HERE).expect("there"));
        let is_taken = file.0.read_without_waiting(&mut [0; 8], 0) == Ok(8);
        expect(&file, if is_taken { Manner::Prompt } else { Manner::MayBlock }, [is_taken; 2]);
        assert!(!file.0.is_direct());
        // What goes past the page cache is asked in a way that reads nothing, and left to the backend.
        let direct = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(HERE);
        if let Some(direct) = direct.ok().filter(|_| is_taken) {
            let direct = attach(&io, direct);
            assert!(direct.0.is_direct());
            expect(&direct, Manner::Prompt, [false; 2]);
        }
    }

    #[test]
    fn of_what_is_only_written_the_kind_is_asked() {
        let stop = Stop::new("test");
        let io = Io::new(&stop).expect("a backend");
        let (_out, into) = rustix::pipe::pipe().expect("a pipe");
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").expect("there");
        for (fd, manner) in [(into, Manner::Stream), (null.into(), Manner::Unknown)] {
            let file = attach(&io, fd);
            #[cfg(feature = "uring")]
            assert!(!file.0.never_blocks_a_submitter());
            file.0.find_out_if_unknown();
            assert_eq!(file.0.manner(), manner);
        }
    }

    #[test]
    fn pipes_and_sockets_are_streams() {
        let stop = Stop::new("test");
        let io = Io::new(&stop).expect("a backend");
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let (out, into) = rustix::pipe::pipe().expect("a pipe");
        let file = std::fs::File::open("/proc/self/status").expect("there");
        let null = std::fs::File::open("/dev/null").expect("there");
        let fds = [socket.into(), out, into, file.into(), null.into()];
        let are = fds.map(|fd: OwnedFd| attach(&io, fd).0.is_stream());
        assert_eq!(are, [true, true, true, false, false]);
    }
}
