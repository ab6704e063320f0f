//! What a file is: `statx`, one path at a time or many in one completion.
//!
//! A look at a file whose inode is in memory takes about a microsecond, less than it takes to hand it to another thread. So a list goes to the
//! pool in batches of [`BATCH`] paths; the ring would give each to a kernel worker. A batch ends early where the mount may change, so that
//! a dead one does not keep the others' answers.

use std::{io, iter::Peekable, os::fd::AsFd, path::Path, sync::Arc};

use rustix::{
    fs::{AtFlags, CWD, FileType, Statx, StatxFlags, statx},
    io::Errno,
};

use super::{
    File, Io, IoError,
    gather::Gather,
    meter::Operation,
    mounts::{self, Mounts},
    pool::Place,
};
use crate::Completion;

/// How many paths a job looks at.
const BATCH: usize = 64;

/// What a file is, as `statx(2)` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    mode: u32,
    links: u32,
    uid: u32,
    gid: u32,
    ino: u64,
    dev: u64,
    len: u64,
    blocks: u64,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    created: Option<Timestamp>,
}

/// A point in time as a file system keeps it: since 1970-01-01 00:00:00 UTC, by the clock that may be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after that second, below 10^9.
    pub nanoseconds: u32,
}

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// The file system does not say: [`Io::stat`] does.
    Unknown,
}

impl FileKind {
    pub(super) fn of(kind: FileType) -> FileKind {
        match kind {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::CharacterDevice => FileKind::CharacterDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Unknown => FileKind::Unknown,
        }
    }
}

impl Metadata {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        FileKind::of(FileType::from_raw_mode(self.mode))
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind() == FileKind::File
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind() == FileKind::Directory
    }

    /// Type and permission bits, as in `st_mode`.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// How many names it has.
    #[must_use]
    pub fn links(&self) -> u32 {
        self.links
    }

    /// The owner.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The inode's number, unique in its file system.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// The file system's number, as `major(3)` << 32 | `minor(3)`.
    #[must_use]
    pub fn dev(&self) -> u64 {
        self.dev
    }

    /// How much room it takes, in units of 512 bytes.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The last read, as far as the mount keeps it.
    #[must_use]
    pub fn accessed(&self) -> Timestamp {
        self.accessed
    }

    /// The last write.
    #[must_use]
    pub fn modified(&self) -> Timestamp {
        self.modified
    }

    /// The last change of what is said here.
    #[must_use]
    pub fn changed(&self) -> Timestamp {
        self.changed
    }

    /// When it was made, where the file system keeps that.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }
}

/// Looking at files.
impl Io {
    /// What is at a path; symbolic links are followed.
    ///
    /// # Errors
    ///
    /// Those of `statx(2)`.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub fn stat(&self, path: impl AsRef<Path>) -> Completion<Metadata, IoError> {
        let path: Arc<Path> = path.as_ref().into();
        self.ask(Operation::Stat, "stat", path.clone(), Place::At(path), true, look)
    }

    /// What an open file is.
    ///
    /// # Errors
    ///
    /// Those of `statx(2)`.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub fn stat_file(&self, file: &File) -> Completion<Metadata, IoError> {
        let opened = Arc::clone(&file.0);
        let place = Place::On(Arc::clone(&opened));
        self.ask(Operation::Stat, "stat", opened.path.clone(), place, true, move |_| look_at(opened.fd()))
    }

    /// What is at many paths, in their order, each with a result of its own.
    ///
    /// ```
    /// # use unwedge::{Stop, io::Io};
    /// let stop = Stop::new("mds.a");
    /// let io = Io::new(&stop)?;
    /// let found = io.stat_many(["/proc/self", "/nonexistent"]).wait()??;
    /// assert!(found[0].as_ref().is_ok_and(|metadata| metadata.is_dir()));
    /// assert_eq!(found[1].as_ref().map_err(|error| error.kind()), Err(std::io::ErrorKind::NotFound));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Of the whole: that the service was shut down, that it was not answered within the [deadline](super::IoBuilder::deadline), or that
    /// a path's `as_ref` panicked.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub fn stat_many<P>(
        &self,
        paths: impl IntoIterator<Item = P>,
    ) -> Completion<Vec<Result<Metadata, IoError>>, IoError>
    where
        P: AsRef<Path> + Send + 'static,
    {
        let paths: Vec<P> = paths.into_iter().collect();
        if let Some(cause) = self.refusal() {
            let refused = IoError::refused("stat", Arc::from(Path::new("many paths")), cause);
            return Completion::ready(Err(refused), self.domain());
        }
        let count = paths.len();
        if count == 0 {
            return Completion::ready(Ok(Vec::new()), self.domain());
        }
        let whole: Arc<Path> = Path::new(&format!("{count} paths")).into();
        let (reply, completion) = self.owe(Operation::Stat, "stat", &whole, None);
        let gather = Gather::new(count, reply, Ok);
        let (mut cutter, mut paths, mut first) = (Cutter::new(), paths.into_iter().peekable(), 0);
        // Each is queued as soon as it is cut, so that it is worked on meanwhile.
        while let Some((place, paths)) = cutter.cut(&mut paths) {
            let batch = Batch { first, paths, answers: None, gather: Arc::clone(&gather) };
            first += batch.paths.len();
            self.run(place, Box::new(move || batch.look()));
        }
        completion
    }
}

/// Cuts a list into batches whose paths are on one mount, as far as their text says.
struct Cutter {
    mounts: Option<Arc<Mounts>>,
    /// The last path's folder, if nothing is mounted in it, and its mount: most lists are of one folder, and a look at all mounts takes a while.
    known: Option<(Vec<u8>, u64)>,
}

impl Cutter {
    fn new() -> Cutter {
        Cutter { mounts: mounts::now(), known: None }
    }

    /// The next batch and where it may get stuck; `None` at the list's end.
    fn cut<P: AsRef<Path>>(
        &mut self,
        paths: &mut Peekable<impl ExactSizeIterator<Item = P>>,
    ) -> Option<(Place, Vec<P>)> {
        let on = self.mount_of(paths.peek()?.as_ref());
        let mut batch = Vec::with_capacity(BATCH.min(paths.len()));
        while batch.len() < BATCH {
            match paths.next_if(|path| self.mount_of(path.as_ref()) == on) {
                Some(path) => batch.push(path),
                None => break,
            }
        }
        Some((on.map_or(Place::Anywhere, Place::Device), batch))
    }

    fn mount_of(&mut self, path: &Path) -> Option<u64> {
        let mounts = self.mounts.as_ref()?;
        if let Some((folder, on)) = &self.known {
            if mounts::is_name_in(folder, path) {
                return Some(*on);
            }
        }
        let (folder, on) = (mounts::folder_of(path), mounts.place_of(path));
        self.known = mounts.has_none_in(folder).then(|| (folder.to_vec(), on));
        Some(on)
    }
}

/// What was found at a path.
type Answer = Result<Metadata, IoError>;

/// Some paths of a list, and what was found. Whatever becomes of it (the service is closed, an `as_ref` panics), it brings an answer for each path.
struct Batch<P: AsRef<Path>> {
    first: usize,
    paths: Vec<P>,
    /// `None` before it is begun.
    answers: Option<Vec<Answer>>,
    gather: Arc<Gather<Answer, Vec<Answer>, IoError>>,
}

impl<P: AsRef<Path>> Batch<P> {
    fn look(mut self) {
        let answers = self.answers.insert(Vec::with_capacity(self.paths.len()));
        if !self.gather.is_wanted() {
            return;
        }
        for path in &self.paths {
            let path = path.as_ref();
            answers.push(look(path).map_err(|error| IoError::failed("stat", path.into(), error)));
        }
    }
}

impl<P: AsRef<Path>> Drop for Batch<P> {
    fn drop(&mut self) {
        let closed = |path: &P| Err(IoError::closed("stat", path.as_ref().into()));
        let mut answers = self.answers.take().unwrap_or_else(|| self.paths.iter().map(closed).collect());
        answers.resize_with(self.paths.len(), || Err(IoError::from(crate::Abandoned)));
        self.gather.put(self.first, answers);
    }
}

fn look(path: &Path) -> io::Result<Metadata> {
    match statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
        Ok(found) => Ok(of(&found)),
        Err(Errno::NOSYS | Errno::PERM) => older(rustix::fs::stat(path)?),
        Err(error) => Err(error.into()),
    }
}

fn look_at(fd: impl AsFd) -> io::Result<Metadata> {
    match statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
        Ok(found) => Ok(of(&found)),
        Err(Errno::NOSYS | Errno::PERM) => older(rustix::fs::fstat(fd)?),
        Err(error) => Err(error.into()),
    }
}

fn of(found: &Statx) -> Metadata {
    let time = |time: rustix::fs::StatxTimestamp| Timestamp { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
    Metadata {
        mode: found.stx_mode.into(),
        links: found.stx_nlink,
        uid: found.stx_uid,
        gid: found.stx_gid,
        ino: found.stx_ino,
        dev: super::file::device_number(found.stx_dev_major, found.stx_dev_minor),
        len: found.stx_size,
        blocks: found.stx_blocks,
        accessed: time(found.stx_atime),
        modified: time(found.stx_mtime),
        changed: time(found.stx_ctime),
        created: (found.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(found.stx_btime)),
    }
}

/// Where a seccomp filter refuses `statx`.
#[cold]
fn older(found: rustix::fs::Stat) -> io::Result<Metadata> {
    let time = |seconds, nanoseconds: u64| Timestamp { seconds, nanoseconds: nanoseconds as u32 };
    Ok(Metadata {
        mode: found.st_mode,
        links: found.st_nlink as u32,
        uid: found.st_uid,
        gid: found.st_gid,
        ino: found.st_ino,
        dev: super::file::device_number(rustix::fs::major(found.st_dev), rustix::fs::minor(found.st_dev)),
        len: found.st_size as u64,
        blocks: found.st_blocks as u64,
        accessed: time(found.st_atime, found.st_atime_nsec),
        modified: time(found.st_mtime, found.st_mtime_nsec),
        changed: time(found.st_ctime, found.st_ctime_nsec),
        created: None,
    })
}
