//! Open files, and how they are opened.
//!
//! A [`File`] is a counted handle. Whoever drops the last one only hands the descriptor to the backend: a `close` on a file system that
//! hangs blocks, and must not block a thread that holds the big lock. An operation in flight holds a handle of its own, so a descriptor is
//! never closed, and its number never reused, under an operation.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};

use super::backend::Backends;
use crate::sys::{PlainU8, Relaxed};

/// An open file: cheap to clone, closed on the backend when the last clone and the last operation on it are gone.
#[derive(Clone)]
pub struct File(pub(super) Arc<Opened>);

/// What all clones of a [`File`] and the operations on it share.
pub(super) struct Opened {
    /// `Some` until `drop`.
    fd: Option<OwnedFd>,
    pub(super) path: Arc<Path>,
    /// The path's last part: what a report shows.
    pub(super) object: Arc<str>,
    /// 1 if a read that must not block is worth a try on the caller's thread, or 0. Anybody may clear it, at any time: it is a hint, and so
    /// relaxed.
    immediate: PlainU8,
    home: Arc<Backends>,
}

impl File {
    pub(super) fn new(fd: OwnedFd, path: Arc<Path>, direct: bool, home: Arc<Backends>) -> Self {
        // A read with RWF_NOWAIT from a direct descriptor blocks for as long as the device takes, so there it is never tried.
        let object = object(&path);
        File(Arc::new(Opened { fd: Some(fd), path, object, immediate: PlainU8::new(u8::from(!direct)), home }))
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
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => unreachable!("a file's descriptor is taken only by its drop"),
        }
    }

    pub(super) fn may_be_immediate(&self) -> bool {
        self.immediate.load(Relaxed) != 0
    }

    pub(super) fn is_never_immediate(&self) {
        self.immediate.store(0, Relaxed);
    }
}

/// A path's last part, for reports.
pub(super) fn object(path: &Path) -> Arc<str> {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into()
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.home.close(fd);
        }
    }
}

/// How [`Io::open`](super::Io::open) opens: as in [`std::fs::OpenOptions`], and `direct`. Every file is opened close-on-exec.
///
/// ```
/// use unwedge::io::OpenOptions;
///
/// let journal = OpenOptions::new().read(true).direct(true);
/// let table = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640);
/// # assert_ne!(journal, table);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct OpenOptions {
    read: bool,
    write: bool,
    create: bool,
    create_new: bool,
    truncate: bool,
    direct: bool,
    mode: u32,
}

impl OpenOptions {
    /// Nothing set: at least `read` or `write` is needed. Files that are created get mode 0o666, less the process's umask.
    pub const fn new() -> Self {
        OpenOptions { read: false, write: false, create: false, create_new: false, truncate: false, direct: false, mode: 0o666 }
    }

    /// Opens for reading.
    pub const fn read(self, yes: bool) -> Self {
        OpenOptions { read: yes, ..self }
    }

    /// Opens for writing.
    pub const fn write(self, yes: bool) -> Self {
        OpenOptions { write: yes, ..self }
    }

    /// Creates the file if it does not exist.
    pub const fn create(self, yes: bool) -> Self {
        OpenOptions { create: yes, ..self }
    }

    /// Creates the file, and fails if it exists.
    pub const fn create_new(self, yes: bool) -> Self {
        OpenOptions { create_new: yes, ..self }
    }

    /// Cuts the file to length 0.
    pub const fn truncate(self, yes: bool) -> Self {
        OpenOptions { truncate: yes, ..self }
    }

    /// Goes past the page cache (`O_DIRECT`): buffers, offsets and lengths must be aligned as the device asks, mostly to 512 or 4096 bytes.
    pub const fn direct(self, yes: bool) -> Self {
        OpenOptions { direct: yes, ..self }
    }

    /// The permission bits of a file that is created.
    pub const fn mode(self, mode: u32) -> Self {
        OpenOptions { mode, ..self }
    }

    pub(super) fn is_direct(self) -> bool {
        self.direct
    }

    /// Whether opening may create a file or destroy content.
    pub(super) fn changes_files(self) -> bool {
        self.create || self.create_new || self.truncate
    }

    pub(super) fn flags(self) -> OFlags {
        let mut flags = OFlags::CLOEXEC
            | match (self.read, self.write) {
                (_, false) => OFlags::RDONLY,
                (false, true) => OFlags::WRONLY,
                (true, true) => OFlags::RDWR,
            };
        flags.set(OFlags::CREATE, self.create || self.create_new);
        flags.set(OFlags::EXCL, self.create_new);
        flags.set(OFlags::TRUNC, self.truncate);
        flags.set(OFlags::DIRECT, self.direct);
        flags
    }

    pub(super) fn permissions(self) -> Mode {
        Mode::from_raw_mode(self.mode & 0o7777)
    }

    /// Whether the combination means something: the kernel would take some of the others for a plain open.
    pub(super) fn is_valid(self) -> bool {
        (self.read || self.write) && (self.write || !self.changes_files())
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions::new()
    }
}
