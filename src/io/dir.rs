//! The names in a directory, in large batches: one `getdents64` with a buffer of [`ROOM`] bytes a batch, each a completion of its own.
//!
//! The directory is opened by the first batch's job and closed by the backend, so nothing of it runs on the caller.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    mem::MaybeUninit,
    os::unix::ffi::OsStringExt,
    path::Path,
    sync::Arc,
    time::Instant,
};

use rustix::{
    fs::{CWD, Mode, OFlags, RawDir},
    io::Errno,
};

use super::{File, FileKind, Io, IoError, backend::Backends, file::Opened, meter::Operation, pool::Place};
use crate::{Completion, Stopped, WaitError, sys::Mutex};

/// Bytes for one batch: some two thousand names.
const ROOM: usize = 64 << 10;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    name: OsString,
    ino: u64,
    kind: FileKind,
}

impl DirEntry {
    /// The name, without the directory's path.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The name, owned.
    #[must_use]
    pub fn into_name(self) -> OsString {
        self.name
    }

    /// The inode's number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// What it is of; not every file system says so here.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.kind
    }
}

/// The names in a directory, a batch at a time: made by [`Io::read_dir`]. `.` and `..` are not among them.
///
/// ```
/// # use unwedge::{Stop, io::Io};
/// let stop = Stop::new("mds.a");
/// let io = Io::new(&stop)?;
/// let mut names = io.read_dir("/proc/self");
/// let mut found = false;
/// while let Some(batch) = names.wait()?? {
///     found |= batch.iter().any(|entry| entry.name() == "status");
/// }
/// assert!(found);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A task writes `names.next().await?? `; who holds a monitor's lock `guard.wait_for(names.batch())`. An error, and an empty batch, is the last one.
pub struct ReadDir {
    io: Io,
    source: Source,
    pending: Option<Completion<Vec<DirEntry>, IoError>>,
    ended: bool,
}

/// What the jobs need.
#[derive(Clone)]
struct Source {
    path: Arc<Path>,
    /// The directory that was given as an open file: it is opened once more, for a position of its own.
    of: Option<Arc<Opened>>,
    /// What the first job opened. Locked for a moment only, never while the kernel works.
    open: Arc<Mutex<Option<Arc<Opened>>>>,
    home: Arc<Backends>,
}

/// Directories.
impl Io {
    /// The names in a directory. Nothing is asked of the kernel before the first batch is.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> ReadDir {
        self.read_dir_from(path.as_ref().into(), None)
    }

    /// The names in a directory that is open, from its beginning.
    pub fn read_dir_of(&self, directory: &File) -> ReadDir {
        self.read_dir_from(directory.0.path.clone(), Some(Arc::clone(&directory.0)))
    }

    fn read_dir_from(&self, path: Arc<Path>, of: Option<Arc<Opened>>) -> ReadDir {
        let home = Arc::clone(&self.backends);
        let source = Source { path, of, open: Arc::new(Mutex::new(None)), home };
        ReadDir { io: self.clone(), source, pending: None, ended: false }
    }
}

impl ReadDir {
    /// The completion of the next batch, which is asked for if it was not yet; an empty batch is the end. For a wait under a monitor's lock.
    ///
    /// # Errors
    ///
    /// The completion's are those of `openat(2)` and `getdents64(2)`; after one there is nothing more to be had.
    pub fn batch(&mut self) -> &mut Completion<Vec<DirEntry>, IoError> {
        // What was given out already owes nothing any more.
        if self.pending.as_ref().is_some_and(|pending| pending.is_complete() && pending.owed().is_none()) {
            self.pending = None;
        }
        let (io, source) = (&self.io, &self.source);
        self.pending.get_or_insert_with(|| source.ask(io))
    }

    /// The next batch, or `None` at the end; blocks the thread. One `?` for the stop, one for the error.
    ///
    /// # Errors
    ///
    /// [`Stopped`]; then the batch, if it comes, is still to be had under another domain.
    #[track_caller]
    pub fn wait(&mut self) -> Result<Result<Option<Vec<DirEntry>>, IoError>, Stopped> {
        if self.ended {
            return Ok(Ok(None));
        }
        let result = self.batch().wait()?;
        Ok(self.look_at(result))
    }

    /// As [`wait`](Self::wait), until a deadline. After a timeout it can be waited for again.
    ///
    /// # Errors
    ///
    /// [`WaitError::Stopped`] or [`WaitError::TimedOut`].
    #[track_caller]
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Result<Option<Vec<DirEntry>>, IoError>, WaitError> {
        if self.ended {
            return Ok(Ok(None));
        }
        let result = self.batch().wait_until(deadline)?;
        Ok(self.look_at(result))
    }

    /// The next batch, or `None` at the end, for a task.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    ///
    /// # Cancel safety
    ///
    /// Safe: a batch that was asked for is kept for the next call.
    pub async fn next(&mut self) -> Result<Result<Option<Vec<DirEntry>>, IoError>, Stopped> {
        if self.ended {
            return Ok(Ok(None));
        }
        let result = self.batch().await?;
        Ok(self.look_at(result))
    }

    /// The batches as an iterator that blocks the thread; a stop, or an error, is the last item.
    pub fn batches(&mut self) -> impl Iterator<Item = Result<Result<Vec<DirEntry>, IoError>, Stopped>> + '_ {
        let mut stopped = false;
        std::iter::from_fn(move || {
            if stopped {
                return None;
            }
            match self.wait() {
                Ok(result) => result.transpose().map(Ok),
                Err(error) => {
                    stopped = true;
                    Some(Err(error))
                }
            }
        })
    }

    fn look_at(&mut self, result: Result<Vec<DirEntry>, IoError>) -> Result<Option<Vec<DirEntry>>, IoError> {
        self.pending = None;
        self.ended = result.as_ref().map_or(true, Vec::is_empty);
        result.map(|batch| Some(batch).filter(|batch| !batch.is_empty()))
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").field("path", &self.source.path).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Source {
    fn ask(&self, io: &Io) -> Completion<Vec<DirEntry>, IoError> {
        let place = match (&*self.open.lock(), &self.of) {
            (Some(opened), _) | (None, Some(opened)) => Place::On(Arc::clone(opened)),
            (None, None) => Place::At(self.path.clone()),
        };
        let source = self.clone();
        io.ask(Operation::ReadDir, "read_dir", self.path.clone(), place, true, move |_| source.read())
    }

    fn read(&self) -> io::Result<Vec<DirEntry>> {
        let open = self.open.lock().clone();
        let opened = match open {
            Some(opened) => opened,
            None => {
                let opened = self.open_it()?;
                *self.open.lock() = Some(Arc::clone(&opened));
                opened
            }
        };
        let mut room = vec![MaybeUninit::uninit(); ROOM];
        let mut dir = RawDir::new(opened.fd(), &mut room);
        let mut batch = Vec::new();
        loop {
            match dir.next() {
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        let kind = FileKind::of(entry.file_type());
                        batch.push(DirEntry { name: OsString::from_vec(name.to_vec()), ino: entry.ino(), kind });
                    }
                }
                Some(Err(Errno::INTR)) => continue,
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
            // One call a batch, unless all that it gave was `.` and `..`.
            if dir.is_buffer_empty() && !batch.is_empty() {
                break;
            }
        }
        Ok(batch)
    }

    fn open_it(&self) -> io::Result<Arc<Opened>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = loop {
            let opened = match &self.of {
                Some(dir) => rustix::fs::openat(dir.fd(), c".", flags, Mode::empty()),
                None => rustix::fs::openat(CWD, &*self.path, flags, Mode::empty()),
            };
            match opened {
                Err(Errno::INTR) => {}
                result => break result?,
            }
        };
        Ok(File::new(fd, self.path.clone(), false, Arc::clone(&self.home)).0)
    }
}
