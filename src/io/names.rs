//! What is done with names: opening files, and looking at and changing what a path leads to.
//!
//! An open goes to the backend; the rest are jobs of the pool, which knows by the path on which file system each may get stuck.

use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path, sync::Arc};

use rustix::fs::{AtFlags, Mode, mkdirat, unlinkat};

use super::{
    File, Io, IoError,
    file::Opened,
    meter::Operation,
    op::{Op, Open},
    options::OpenOptions,
    pool::{Job, Place},
    quick,
    reply::Reply,
};
use crate::Completion;

/// Names.
impl Io {
    /// Opens a file, or a directory.
    ///
    /// Where it is opened for reading, the name and its file are in the kernel's caches, and the file is on a local file system, this is done at once on the
    /// caller's own thread: see [`io`](super#what-is-done-on-the-callers-thread).
    ///
    /// # Errors
    ///
    /// Those of `openat2(2)`. `InvalidInput` for a path with a NUL byte and for options that make no sense together; `Unsupported` where options
    /// ask for a [`Resolve`](super::Resolve) and the kernel refuses `openat2`.
    ///
    /// # Cancel safety
    ///
    /// Safe: if nobody waits any more the file is closed again. If the options create or truncate, that may have happened.
    pub fn open(&self, path: impl AsRef<Path>, options: OpenOptions) -> Completion<File, IoError> {
        self.open_from(None, path.as_ref(), options)
    }

    /// As [`open`](Self::open), relative to a directory that was opened before: its own name may change or vanish meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); the error's path has the directory's before it.
    ///
    /// # Cancel safety
    ///
    /// As for [`open`](Self::open).
    pub fn open_in(&self, directory: &File, path: impl AsRef<Path>, options: OpenOptions) -> Completion<File, IoError> {
        self.open_from(Some(&directory.0), path.as_ref(), options)
    }

    fn open_from(&self, dir: Option<&Arc<Opened>>, relative: &Path, options: OpenOptions) -> Completion<File, IoError> {
        let path: Arc<Path> = match dir {
            Some(dir) => dir.path.join(relative).into(),
            None => relative.into(),
        };
        if let Some(cause) = self.refusal() {
            return Completion::ready(Err(IoError::refused("open", path, cause)), self.domain());
        }
        if let Some(mistake) = options.mistake() {
            return self.invalid("open", path, mistake);
        }
        let Ok(name) = CString::new(relative.as_os_str().as_bytes()) else {
            return self.invalid("open", path, NUL);
        };
        let home = Arc::clone(&self.backends);
        if let Some(fd) = quick::open(dir.map(|dir| dir.fd()), &name, options) {
            self.meter().prompt(Operation::Open);
            return Completion::ready(Ok(File::new(fd, path, options.is_direct(), home)), self.domain());
        }
        let (reply, completion) = self.owe(Operation::Open, "open", &path, None);
        self.submit(Op::Open(Box::new(Open { path, dir: dir.cloned(), name, options, reply, home })));
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
        let to: Arc<Path> = to.as_ref().into();
        self.change("rename", from.as_ref(), move |from| std::fs::rename(from, &to))
    }

    /// Removes a file's name, and the file with its last one.
    ///
    /// # Errors
    ///
    /// Those of `unlink(2)`.
    ///
    /// # Cancel safety
    ///
    /// A wait that ends early leaves open whether it was or will be removed.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Completion<(), IoError> {
        self.change("remove_file", path.as_ref(), |path| Ok(unlinkat(rustix::fs::CWD, path, AtFlags::empty())?))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// Those of `rmdir(2)`.
    ///
    /// # Cancel safety
    ///
    /// A wait that ends early leaves open whether it was or will be removed.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Completion<(), IoError> {
        self.change("remove_dir", path.as_ref(), |path| Ok(unlinkat(rustix::fs::CWD, path, AtFlags::REMOVEDIR)?))
    }

    /// Makes a directory with these permission bits, less the process's umask.
    ///
    /// # Errors
    ///
    /// Those of `mkdir(2)`.
    ///
    /// # Cancel safety
    ///
    /// A wait that ends early leaves open whether it was or will be made.
    pub fn create_dir(&self, path: impl AsRef<Path>, mode: u32) -> Completion<(), IoError> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        self.change("create_dir", path.as_ref(), move |path| Ok(mkdirat(rustix::fs::CWD, path, mode)?))
    }

    fn change(
        &self,
        name: &'static str,
        path: &Path,
        job: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
    ) -> Completion<(), IoError> {
        let path: Arc<Path> = path.into();
        self.ask(Operation::Change, name, path.clone(), Place::At(path), false, job)
    }

    /// Has a thread of the pool do something with a path. An `idle` question is left unasked if nobody wants the answer any more.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        kind: Operation,
        name: &'static str,
        path: Arc<Path>,
        place: Place,
        idle: bool,
        job: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Completion<T, IoError> {
        if let Some(cause) = self.refusal() {
            return Completion::ready(Err(IoError::refused(name, path, cause)), self.domain());
        }
        let (reply, completion) = self.owe(kind, name, &path, None);
        let owing = Owing { name, path, reply: Some(reply) };
        self.run(place, Box::new(Question { owing, idle, job }));
        completion
    }

    fn invalid<T>(&self, operation: &'static str, path: Arc<Path>, why: &'static str) -> Completion<T, IoError> {
        let error = io::Error::new(io::ErrorKind::InvalidInput, why);
        Completion::ready(Err(IoError::failed(operation, path, error)), self.domain())
    }
}

const NUL: &str = "a NUL byte in the path";

/// Owes the result of a job on a path; dropped without one (the service was closed) it says so.
struct Owing<T: Send + 'static> {
    name: &'static str,
    path: Arc<Path>,
    reply: Option<Reply<T>>,
}

/// A job on a path. An idle one is left undone if nobody wants its result any more.
struct Question<T: Send + 'static, F> {
    owing: Owing<T>,
    idle: bool,
    job: F,
}

impl<T: Send + 'static, F: FnOnce(&Path) -> io::Result<T> + Send> Job for Question<T, F> {
    fn run(self: Box<Self>) {
        let is_wanted = self.is_wanted();
        let Question { mut owing, job, .. } = *self;
        if !is_wanted {
            owing.reply = None;
            return;
        }
        let result = job(&owing.path);
        if let Some(reply) = owing.reply.take() {
            reply.finish(result.map_err(|error| IoError::failed(owing.name, owing.path.clone(), error)));
        }
    }

    fn is_wanted(&self) -> bool {
        !self.idle || self.owing.reply.as_ref().is_some_and(Reply::is_wanted)
    }
}

impl<T: Send + 'static> Drop for Owing<T> {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply.finish(Err(IoError::closed(self.name, self.path.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_nothing_is_asked_for_who_waits_alone() {
        let stop = crate::Stop::new("test");
        let io = Io::new(&stop).expect("a backend");
        for idle in [true, false] {
            let path: Arc<Path> = Path::new("/").into();
            let (reply, completion) = io.owe::<(), IoError>(Operation::Stat, "stat", &path, None);
            let owing = Owing { name: "stat", path, reply: Some(reply) };
            let question = Question { owing, idle, job: |_: &Path| Ok(()) };
            assert!(question.is_wanted());
            drop(completion);
            assert_eq!(question.is_wanted(), !idle);
        }
    }
}
