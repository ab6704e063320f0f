//! What a file is: `statx`, one path at a time or many in one completion.
//!
//! A look at a file whose inode is in memory takes about a microsecond, less than it takes to hand it to another thread. So a list is cut into
//! batches of [`BATCH`] paths; the ring would give each to a kernel worker. A batch ends early where the mount may change, so that a dead one does not
//! keep the others' answers.
//!
//! The batches of one mount are a [`Line`], from which jobs of the pool take one after the other. On a device or in memory that is a job for each processor,
//! because more of them only take the processors from each other; and another one, up to [`MOST`], whenever some paths were slow, because then they wait for
//! the device. Where another machine or process is asked it is [`MOST`] from the start.

use std::{
    collections::VecDeque, io, iter::Peekable, num::NonZero, os::fd::AsFd, path::Path, sync::Arc, thread,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Statx, StatxFlags, statx},
    io::Errno,
};

use super::{
    File, Io, IoError,
    backend::{Backends, guarded},
    gather::Gather,
    meter::Operation,
    mounts::{self, Mounts},
    pool::{Job, Place, Pool},
};
use crate::{
    Completion,
    sys::{Mutex, MutexGuard, PlainU8, PlainU32, Relaxed, now},
};

/// How many paths a job looks at before it asks for more.
const BATCH: usize = 64;
/// After so many paths a job looks at the clock.
const STEP: usize = 8;
/// What a step takes at least if it waits for a device.
const SLOW: Duration = Duration::from_micros(200);
/// How many jobs a line has at most.
const MOST: usize = 16;

/// What a file is, as `statx(2)` tells.
// In 96 bytes, a result of it too: a long list of them is memory that has to be made, written, read and given back, which takes time beside a look of a
// microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    ino: u64,
    dev: u64,
    len: u64,
    blocks: u64,
    accessed: Moment,
    modified: Moment,
    changed: Moment,
    /// Means nothing without `has_created`.
    created: Moment,
    links: u32,
    uid: u32,
    gid: u32,
    /// The kernel's has 16 bits.
    mode: u16,
    has_created: bool,
}

const _: () = assert!(size_of::<Result<Metadata, IoError>>() == 96);

/// A [`Timestamp`] without its padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(Rust, packed(4))]
struct Moment {
    seconds: i64,
    nanoseconds: u32,
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

impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Timestamp {
        Timestamp { seconds: moment.seconds, nanoseconds: moment.nanoseconds }
    }
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
        FileKind::of(FileType::from_raw_mode(self.mode()))
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
        self.mode.into()
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
        self.accessed.into()
    }

    /// The last write.
    #[must_use]
    pub fn modified(&self) -> Timestamp {
        self.modified.into()
    }

    /// The last change of what is said here.
    #[must_use]
    pub fn changed(&self) -> Timestamp {
        self.changed.into()
    }

    /// When it was made, where the file system keeps that.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.has_created.then(|| self.created.into())
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
        let mut lines: Vec<(Option<u64>, Arc<Line<P>>)> = Vec::new();
        // Each is worked on as soon as it is cut.
        while let Some((on, paths)) = cutter.cut(&mut paths) {
            let batch = Batch { first, paths, answers: None, gather: Arc::clone(&gather) };
            first += batch.paths.len();
            let at = lines.iter().position(|line| line.0 == on).unwrap_or_else(|| {
                lines.push((on, Line::new(on, cutter.jobs_on(on), &self.backends)));
                lines.len() - 1
            });
            lines[at].1.put(batch);
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

    /// The next batch and its mount, if that is known; `None` at the list's end.
    fn cut<P: AsRef<Path>>(
        &mut self,
        paths: &mut Peekable<impl ExactSizeIterator<Item = P>>,
    ) -> Option<(Option<u64>, Vec<P>)> {
        let on = self.mount_of(paths.peek()?.as_ref());
        let mut batch = Vec::with_capacity(BATCH.min(paths.len()));
        while batch.len() < BATCH {
            match paths.next_if(|path| self.mount_of(path.as_ref()) == on) {
                Some(path) => batch.push(path),
                None => break,
            }
        }
        Some((on, batch))
    }

    /// How many jobs are enough for a list on this mount as long as none of its paths is slow.
    fn jobs_on(&self, on: Option<u64>) -> usize {
        let local = on.zip(self.mounts.as_ref()).is_some_and(|(on, mounts)| mounts.is_local_device(on));
        if local { processors().min(MOST) } else { MOST }
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

/// On how many processors this process may run: asked once, because the answer is read from files.
fn processors() -> usize {
    /// 0: not asked yet.
    static PROCESSORS: PlainU32 = PlainU32::new(0);
    let known = PROCESSORS.load(Relaxed) as usize;
    if known != 0 {
        return known;
    }
    let number = thread::available_parallelism().map_or(1, NonZero::get);
    PROCESSORS.store(number as u32, Relaxed);
    number
}

/// The batches of one mount that nobody has begun, and the jobs that work on them. When the service is closed the next job drops what is left, and with the last
/// job it is dropped in any case: that answers it. (So while all of its jobs are stuck in the kernel what a list has left is kept. Of such lists there are few: the
/// jobs of one for which the device has no share left are swept out of the pool when nobody wants them, and it goes with them.)
struct Line<P: AsRef<Path>> {
    on: Option<u64>,
    state: Mutex<Waiting<P>>,
    pool: Arc<Pool>,
    closed: Arc<PlainU8>,
}

impl<P: AsRef<Path>> Drop for Line<P> {
    fn drop(&mut self) {
        let batches = std::mem::take(&mut self.state.lock().batches);
        // Each alone: an `as_ref` or a destructor that panics ends no other's answer.
        for batch in batches {
            guarded(|| drop(batch));
        }
    }
}

/// Under the lock.
struct Waiting<P: AsRef<Path>> {
    batches: VecDeque<Batch<P>>,
    /// Those that were given to the pool and have not found the line empty. (One that the pool refused is among them: then the service is closed, or there is no
    /// thread for any.)
    jobs: usize,
    /// How many there may be.
    most: usize,
}

impl<P: AsRef<Path> + Send + 'static> Line<P> {
    fn new(on: Option<u64>, most: usize, backends: &Backends) -> Arc<Line<P>> {
        let state = Mutex::new(Waiting { batches: VecDeque::new(), jobs: 0, most });
        Arc::new(Line { on, state, pool: Arc::clone(&backends.pool), closed: Arc::clone(&backends.closed) })
    }

    /// Adds a batch, and a job for it if there are not enough.
    fn put(self: &Arc<Self>, batch: Batch<P>) {
        let mut state = self.state.lock();
        state.batches.push_back(batch);
        self.add_job(state);
    }

    fn add_job(self: &Arc<Self>, mut state: MutexGuard<'_, Waiting<P>>) {
        if state.jobs >= state.most || state.batches.is_empty() {
            return;
        }
        state.jobs += 1;
        drop(state);
        let line = Arc::clone(self);
        self.pool.run(self.on.map_or(Place::Anywhere, Place::Device), Box::new(Work(line)));
    }

    /// A job: works until nothing is left. Once the service is closed that is to drop it.
    fn work(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            let Some(batch) = state.batches.pop_front() else {
                state.jobs -= 1;
                return;
            };
            drop(state);
            if self.closed.load(Relaxed) != 0 {
                guarded(|| drop(batch));
                continue;
            }
            let mut begun = now();
            // A path's `as_ref` that panics is answered by its batch, and ends no job.
            guarded(|| {
                batch.look(|| {
                    let mut time = now();
                    if time - begun >= SLOW {
                        let mut state = self.state.lock();
                        state.most = MOST.min(state.most + 1);
                        self.add_job(state);
                        // A thread that was started for it took time, too.
                        time = now();
                    }
                    begun = time;
                });
            });
        }
    }
}

/// A job that works on a line.
struct Work<P: AsRef<Path>>(Arc<Line<P>>);

impl<P: AsRef<Path> + Send + 'static> Job for Work<P> {
    fn run(self: Box<Self>) {
        self.0.work();
    }

    fn is_wanted(&self) -> bool {
        // One that finds nothing says so: the line counts it.
        self.0.state.lock().batches.front().is_none_or(|batch| batch.gather.is_wanted())
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
    /// Calls `step` after every [`STEP`] paths.
    fn look(mut self, mut step: impl FnMut()) {
        let answers = self.answers.insert(Vec::with_capacity(self.paths.len()));
        if !self.gather.is_wanted() {
            return;
        }
        for paths in self.paths.chunks(STEP) {
            for path in paths {
                let path = path.as_ref();
                answers.push(look(path).map_err(|error| IoError::failed("stat", path.into(), error)));
            }
            step();
        }
    }
}

impl<P: AsRef<Path>> Drop for Batch<P> {
    fn drop(&mut self) {
        let closed = |path: &P| Err(IoError::closed("stat", path.as_ref().into()));
        let mut answers = match self.answers.take() {
            Some(answers) => answers,
            None if self.gather.is_wanted() => self.paths.iter().map(closed).collect(),
            None => Vec::new(),
        };
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
    let time = |time: rustix::fs::StatxTimestamp| Moment { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
    Metadata {
        mode: found.stx_mode,
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
        created: time(found.stx_btime),
        has_created: found.stx_mask & StatxFlags::BTIME.bits() != 0,
    }
}

/// Where a seccomp filter refuses `statx`.
#[cold]
fn older(found: rustix::fs::Stat) -> io::Result<Metadata> {
    let time = |seconds, nanoseconds: u64| Moment { seconds, nanoseconds: nanoseconds as u32 };
    Ok(Metadata {
        mode: found.st_mode as u16,
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
        created: Moment::default(),
        has_created: false,
    })
}
