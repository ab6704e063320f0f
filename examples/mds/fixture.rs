//! The captured pool that the example runs on, unpacked into a temporary folder.
//!
//! Each process unpacks into a folder of its own with a name that nobody else has, so two at once do not meet, and nobody ever sees a
//! half-unpacked pool: who asked for it gets it only when it is whole. The folder goes when its owner is dropped, which is also how a
//! failed or interrupted unpacking cleans up.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use ruzstd::decoding::StreamingDecoder;
use tempfile::TempDir;

/// The archive, as it lies in the project.
const ARCHIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pool.tar.zst");

/// More than the pool needs, so that an archive that is none cannot fill the disk.
const MOST_BYTES: u64 = 64 << 20;

/// The unpacked pools.
#[derive(Debug)]
pub struct Fixture {
    folder: TempDir,
}

impl Fixture {
    /// Unpacks the project's archive; `is_cancelled` is asked before each file.
    pub fn unpack(is_cancelled: impl Fn() -> bool) -> anyhow::Result<Fixture> {
        Fixture::unpack_from(Path::new(ARCHIVE), is_cancelled)
    }

    /// Unpacks another archive.
    pub fn unpack_from(archive: &Path, is_cancelled: impl Fn() -> bool) -> anyhow::Result<Fixture> {
        let shown = archive.display();
        let file = File::open(archive).with_context(|| format!("cannot open the captured pool {shown}"))?;
        let folder = tempfile::Builder::new()
            .prefix("unwedge-mds-")
            .tempdir()
            .with_context(|| format!("cannot make a folder in {}", std::env::temp_dir().display()))?;
        let plain = StreamingDecoder::new(BufReader::new(file))
            .map_err(|error| anyhow!("{shown} is not compressed with zstd: {error}"))?;
        let mut archive = tar::Archive::new(plain.take(MOST_BYTES));
        for entry in archive.entries().with_context(|| format!("cannot read {shown}"))? {
            if is_cancelled() {
                bail!("interrupted");
            }
            let mut entry = entry.with_context(|| format!("cannot read {shown}"))?;
            entry.unpack_in(folder.path()).map_err(|error| unpacking(error, folder.path()))?;
        }
        Ok(Fixture { folder })
    }

    /// The pool before its journal was flushed: the tree is in the journal.
    pub fn dirty(&self) -> PathBuf {
        self.folder.path().join("dirty")
    }

    /// The pool after its journal was flushed: the tree is in the directory objects.
    pub fn flushed(&self) -> PathBuf {
        self.folder.path().join("flushed")
    }

    /// The folder in which both are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Says in one line what went wrong, and what to do about a full disk. (The unpacker says the file three times over.)
fn unpacking(error: io::Error, folder: &Path) -> anyhow::Error {
    let shown = folder.display();
    if is_full(&error) {
        anyhow!("no space left in {shown} for the captured pool (12 MB): set TMPDIR to another folder")
    } else {
        anyhow!("cannot unpack the captured pool into {shown}: {}", anyhow::Error::new(error).root_cause())
    }
}

/// Whether a full disk, a full quota or a limit on the sizes of files is at the bottom of an error: the unpacker wraps what the system said.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let mut inner: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = inner {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge))
        {
            return true;
        }
        inner = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_do_not_meet_and_leave_nothing() {
        let both = [(); 2].map(|()| std::thread::spawn(|| Fixture::unpack(|| false).unwrap()));
        let both = both.map(|thread| thread.join().unwrap());
        assert_ne!(both[0].folder(), both[1].folder());
        let folders = both.each_ref().map(|fixture| fixture.folder().to_owned());
        assert!(both.iter().all(|fixture| fixture.dirty().join("objects/200.00000001").is_file()));
        drop(both);
        assert!(folders.iter().all(|folder| !folder.exists()));
    }

    #[test]
    fn an_interrupted_unpacking_is_an_error() {
        let asked = std::cell::Cell::new(0);
        let cancelled = || asked.replace(asked.get() + 1) == 5;
        assert_eq!(Fixture::unpack(cancelled).unwrap_err().to_string(), "interrupted");
    }

    #[test]
    fn errors_name_the_file() {
        let error = Fixture::unpack_from(Path::new("/nowhere/pool.tar.zst"), || false).unwrap_err();
        assert_eq!(error.to_string(), "cannot open the captured pool /nowhere/pool.tar.zst");
        let error = Fixture::unpack_from(Path::new(file!()), || false).unwrap_err();
        assert!(error.to_string().contains("is not compressed with zstd"), "{error}");
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        // What the kernel answers to a write on a full disk, wrapped once more as the unpacker does.
        let full = io::Write::write_all(&mut File::options().write(true).open("/dev/full").unwrap(), b"x").unwrap_err();
        let error = unpacking(io::Error::new(full.kind(), full), Path::new("/tmp/x"));
        assert!(error.to_string().contains("set TMPDIR"), "{error}");
    }
}
