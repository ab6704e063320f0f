//! Which file systems are mounted where, as the kernel tells without asking any of them: `/proc/self/mountinfo`.
//!
//! Two questions are answered with it. On which file system may a path get stuck? By the path's text: the deepest mount point that it begins
//! with; a symbolic link may lead elsewhere, then it is a guess that was wrong. And does the opening of a file there ask anybody? By the mount that an
//! open file says it is on. The table is read again when it is older than a second and a question is asked.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::sys::{Mutex, coarse_millis};

/// How long a table is good, in milliseconds.
const GOOD: u64 = 1000;

/// File systems on a device or in memory, which open a file whose inode is in memory without asking anybody. Those that ask a server (NFS, CIFS, Ceph), a
/// process (FUSE) or another file system (overlay) are not among them.
const LOCAL: [&[u8]; 11] =
    [b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"f2fs", b"bcachefs", b"tmpfs", b"ramfs", b"erofs", b"squashfs"];

/// The mounts at a moment.
#[derive(Debug)]
pub(super) struct Mounts {
    mounts: Vec<Mount>,
    /// Where relative paths begin.
    here: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: u64,
    point: PathBuf,
    local: bool,
}

/// The table as it is, or was a second ago; `None` where there is no `/proc`.
pub(super) fn now() -> Option<Arc<Mounts>> {
    static TABLE: Mutex<Option<(u64, Arc<Mounts>)>> = Mutex::new(None);
    let time = coarse_millis();
    if let Some((read, table)) = &*TABLE.lock() {
        if time < read + GOOD {
            return Some(Arc::clone(table));
        }
    }
    // Without the lock: two may read it at once, and either's is right.
    let text = std::fs::read("/proc/self/mountinfo").ok()?;
    let table = Arc::new(Mounts { mounts: parse(&text), here: std::env::current_dir().ok() });
    *TABLE.lock() = Some((time, Arc::clone(&table)));
    Some(table)
}

/// The number of the file system that a path leads to by its text, as far as it is known: else 0.
pub(super) fn device_at(path: &Path) -> u64 {
    now().map_or(0, |mounts| mounts.place_of(path))
}

/// The number of the file system that an open file is on, where a seccomp filter refuses `statx`: `fstat` would ask the file system. What is on no mount that
/// has a place (a pipe, a socket) has a number all the same; 0 if nothing is known.
#[cold]
pub(super) fn device_under(fd: BorrowedFd<'_>) -> u64 {
    let text = std::fs::read(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap_or_default();
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"));
    let id: Option<u64> = line.and_then(|id| std::str::from_utf8(id.trim_ascii()).ok()?.parse().ok());
    id.map_or(0, |id| now().and_then(|mounts| mounts.device_of(id)).unwrap_or(1 << 63 | id))
}

impl Mounts {
    /// The number of a mount's file system.
    pub(super) fn device_of(&self, id: u64) -> Option<u64> {
        self.mounts.iter().find(|mount| mount.id == id).map(|mount| mount.device)
    }

    /// Whether a file system is one of those on a device or in memory.
    pub(super) fn is_local_device(&self, device: u64) -> bool {
        self.mounts.iter().any(|mount| mount.device == device && mount.local)
    }

    /// Whether a mount is of a file system that opens cached files by itself.
    pub(super) fn is_local(&self, id: u64) -> bool {
        self.mounts.iter().any(|mount| mount.id == id && mount.local)
    }

    /// The number of the file system that a path leads to by its text; 0 if it is not known.
    pub(super) fn place_of(&self, path: &Path) -> u64 {
        let whole;
        let path = match &self.here {
            Some(here) if path.is_relative() => {
                whole = here.join(path);
                &whole
            }
            _ => path,
        };
        let path = path.as_os_str().as_bytes();
        // Of two at one point the later one covers the earlier.
        let under = self.mounts.iter().filter(|mount| is_under(path, mount.point.as_os_str().as_bytes()));
        under.max_by_key(|mount| mount.point.as_os_str().len()).map_or(0, |mount| mount.device)
    }

    /// Whether all names in a folder (with its last slash) are on one file system, because nothing is mounted there. Of a relative folder the text says
    /// too little.
    pub(super) fn has_none_in(&self, folder: &[u8]) -> bool {
        let there = |mount: &Mount| folder_of(&mount.point) == folder;
        folder.starts_with(b"/") && !self.mounts.iter().any(there)
    }
}

/// Whether a path begins with a mount point, by whole parts.
fn is_under(path: &[u8], point: &[u8]) -> bool {
    point == b"/" && path.starts_with(b"/")
        || path.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Whether a path is a folder's (with its last slash) and one part more.
pub(super) fn is_name_in(folder: &[u8], path: &Path) -> bool {
    path.as_os_str().as_bytes().strip_prefix(folder).is_some_and(|name| !name.contains(&b'/'))
}

/// What is before a path's last part, with its slash.
pub(super) fn folder_of(path: &Path) -> &[u8] {
    let path = path.as_os_str().as_bytes();
    path.iter().rposition(|&byte| byte == b'/').map_or(&[], |slash| &path[..=slash])
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount\040point rw,noatime master:1 - ext4 /dev/root rw`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&byte| byte == b' ');
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u64>().ok();
    let id = number(words.next()?)?;
    let device = words.nth(1)?;
    let colon = device.iter().position(|&byte| byte == b':')?;
    let (major, minor) = (number(&device[..colon])?, number(&device[colon + 1..])?);
    let point = plain(words.nth(1)?);
    let kind = words.skip_while(|&word| word != b"-").nth(1)?;
    Some(Mount { id, device: major << 32 | minor, point, local: LOCAL.contains(&kind) })
}

/// The kernel writes spaces, tabs, line ends and backslashes as `\` and three octal digits.
fn plain(word: &[u8]) -> PathBuf {
    if !word.contains(&b'\\') {
        return PathBuf::from(OsStr::from_bytes(word));
    }
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, more)) = rest.split_first() {
        match more.first_chunk::<3>() {
            Some(digits) if byte == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) => {
                bytes.push(digits.iter().fold(0, |value: u8, digit| value << 3 | (digit - b'0')));
                rest = &more[3..];
            }
            _ => {
                bytes.push(byte);
                rest = more;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const TEXT: &str = "\
21 26 0:20 / /proc rw,nosuid - proc proc rw
26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 26 0:41 / /mnt/dead\\040mount rw master:3 propagate_from:1 - fuse.sshfs me@there: rw
31 30 8:1 / /mnt/dead\\040mount/inner rw - xfs /dev/sda1 rw
32 26 0:50 / /mnt/dead\\040mount/inner rw - nfs4 there:/ rw
nonsense
";

    #[test]
    fn the_deepest_and_last_mount_has_the_path() {
        let mounts = Mounts { mounts: parse(TEXT.as_bytes()), here: Some("/mnt/dead mount".into()) };
        assert_eq!(mounts.mounts.len(), 5);
        let device = |major: u64, minor: u64| major << 32 | minor;
        assert_eq!(mounts.place_of(Path::new("/etc/passwd")), device(254, 0));
        assert_eq!(mounts.place_of(Path::new("/mnt/dead mount/a")), device(0, 41));
        assert_eq!(mounts.place_of(Path::new("/mnt/dead mounts/a")), device(254, 0));
        assert_eq!(mounts.place_of(Path::new("inner/a")), device(0, 50));
        let none_beside = |path: &str| mounts.has_none_in(folder_of(Path::new(path)));
        assert!(is_name_in(b"/etc/", Path::new("/etc/a")) && !is_name_in(b"/etc/", Path::new("/etc/a/b")));
        assert!(none_beside("/etc/a") && none_beside("/mnt/dead mount/inner/a"));
        assert!(!none_beside("/mnt/dead mount/a") && !none_beside("/a") && !none_beside("etc/a") && !none_beside("a"));
        assert_eq!((mounts.device_of(31), mounts.device_of(99)), (Some(device(8, 1)), None));
        assert!(mounts.is_local(26) && mounts.is_local(31));
        assert!(mounts.is_local_device(device(8, 1)) && !mounts.is_local_device(device(99, 1)));
        assert!(!mounts.is_local(30) && !mounts.is_local(32) && !mounts.is_local(21) && !mounts.is_local(99));
    }

    #[test]
    fn an_open_file_is_on_the_file_system_of_its_mount() {
        let status = std::fs::File::open("/proc/self/status").expect("there is /proc");
        let proc = now().expect("there is /proc").place_of(Path::new("/proc/self/status"));
        assert_eq!((device_under(status.as_fd()), crate::io::file::device_of(status.as_fd())), (proc, proc));
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("sockets");
        assert_ne!(device_under(one.as_fd()), 0);
        assert_eq!(device_under(one.as_fd()), device_under(other.as_fd()));
    }

    #[test]
    fn the_kernels_own_table_is_understood() {
        let mounts = now().expect("there is /proc");
        assert_ne!(mounts.place_of(Path::new("/proc/self/status")), mounts.place_of(Path::new("/")));
    }
}
