//! Opens for reading that need nobody: the name and its file are in the kernel's caches, and the file's own open asks nobody either.
//!
//! # Algorithm
//!
//! `RESOLVE_CACHED` alone is not enough. It looks names up without waiting, but what is opened then may wait: a FUSE file for its daemon, an NFS
//! file for its server, a FIFO for a writer, a leased file for the lease. So in steps, none of which waits: the name is looked up to an `O_PATH`
//! descriptor, which opens nothing; the kernel says from memory what it leads to and on which mount; if that is a regular file on a local file system, or a
//! directory on one that opens those too without its device, it is opened through `/proc/self/fd`, with `O_NONBLOCK` against leases. Whatever is not as hoped
//! leaves the open to the backend; so does an open for writing, for which ext4 and others with quotas may read the owner's from the device (`dquot_file_open`).

use std::{
    ffi::CStr,
    io::Write as _,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fcntl_getfl, fcntl_setfl, openat2, statx},
    io::Errno,
};

use super::{mounts, options::OpenOptions};
use crate::sys::{PlainU8, Relaxed};

/// What this kernel, and the filter before it, makes of `openat2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Openat2 {
    /// There is none: Linux before 5.6, or a seccomp filter.
    Refused = 1,
    /// There is one, which does not know `RESOLVE_CACHED`: Linux before 5.12.
    Plain = 2,
    /// All of it.
    Cached = 3,
}

/// Asks once for the process.
pub(super) fn support() -> Openat2 {
    // Whoever finds it out writes it, always the same: so relaxed.
    static KNOWN: PlainU8 = PlainU8::new(0);
    match KNOWN.load(Relaxed) {
        1 => Openat2::Refused,
        2 => Openat2::Plain,
        3 => Openat2::Cached,
        _ => {
            let Some(found) = ask() else { return Openat2::Plain };
            KNOWN.store(found as u8, Relaxed);
            found
        }
    }
}

/// `None` if the answer says nothing: the process is short of descriptors, or the kernel of memory.
#[cold]
fn ask() -> Option<Openat2> {
    // The root is looked up nowhere.
    let root = |resolve| openat2(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    match root(ResolveFlags::CACHED) {
        Ok(_) | Err(Errno::AGAIN) => Some(Openat2::Cached),
        Err(Errno::INVAL) => Some(Openat2::Plain),
        Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Some(Openat2::Refused),
        Err(_) => None,
    }
}

/// Opens a file if that waits for nothing: see the head of this file. `None` is no answer, not even that it cannot be opened.
pub(super) fn open(dir: Option<BorrowedFd<'_>>, name: &CStr, options: OpenOptions) -> Option<OwnedFd> {
    let last_link = options.flags().contains(OFlags::NOFOLLOW);
    let writes = options.changes_files() || options.flags().intersects(OFlags::WRONLY | OFlags::RDWR);
    if writes || last_link || support() != Openat2::Cached {
        return None;
    }
    let dir = dir.unwrap_or(CWD.as_fd());
    let look = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(dir, name, look, Mode::empty(), options.resolve_flags() | ResolveFlags::CACHED).ok()?;
    if !opens_by_itself(found.as_fd()) {
        return None;
    }
    let flags = options.flags();
    let fd = rustix::fs::open(Link::to(&found).path()?, flags | OFlags::NONBLOCK, Mode::empty()).ok()?;
    // The file's own flag: io_uring would take it to mean that nobody waits for a read.
    let set = fcntl_getfl(&fd).ok()?;
    fcntl_setfl(&fd, set - OFlags::NONBLOCK).ok()?;
    Some(fd)
}

fn opens_by_itself(found: BorrowedFd<'_>) -> bool {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let Ok(stat) = statx(found, c"", flags, StatxFlags::TYPE | mounts::ASKED) else { return false };
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => mounts::of(found, &stat).local,
        FileType::Directory => mounts::of(found, &stat).folders,
        _ => false,
    }
}

/// `/proc/self/fd/N`, without an allocation.
struct Link {
    bytes: [u8; 32],
}

impl Link {
    fn to(fd: &OwnedFd) -> Link {
        let mut link = Link { bytes: [0; 32] };
        // At most 14 and 10 bytes: the rest stays 0.
        let _ = write!(&mut link.bytes[..31], "/proc/self/fd/{}", fd.as_raw_fd());
        link
    }

    fn path(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.bytes).ok()
    }
}
