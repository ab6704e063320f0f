//! Which file systems are mounted where, as the kernel tells without asking any of them: `/proc/self/mountinfo`.
//!
//! Two questions are answered with it.
//!
//! On which file system may a *path* get stuck? By the path's text: the deepest mount point that it begins with. A symbolic link may lead elsewhere, and a table
//! is read again when it is older than a second and a question is asked: then it is a guess that was wrong. What hangs is then counted for another file system,
//! whose share of the threads is smaller by that until it ends; nothing else depends on it.
//!
//! On which is an open *file*, and does opening it there ask anybody? By its mount. That must not be wrong: a caller who opens a file on its own thread because the
//! mount is said to be local would hang. The number of a mount that is gone is given to the next one, so a table that is older than the file may mean another
//! mount. But a mount has a second number, which is no other's ever (Linux 6.8). What is known of it is kept by that one; and is found out by a table that
//! is read while the file is open, which keeps its mount. Where the kernel does not tell that number, a table up to a second old is believed, if the file's device is the
//! mount's: so what may be mistaken there is what has no device (tmpfs, btrfs), unmounted and followed by another mount within that second.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{AtFlags, Statx, StatxFlags, statx};

use super::{file::device_number, fork::lock_if_free};
use crate::sys::{Mutex, PlainU64, Relaxed, coarse_millis};

/// How long a table is good, in milliseconds.
const GOOD: u64 = 1000;
/// `STATX_MNT_ID_UNIQUE`: a kernel that does not know it leaves it unanswered.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// File systems on a device or in memory, which open a file whose inode is in memory for reading without asking anybody. Those that ask a server (NFS, CIFS,
/// Ceph), a process (FUSE) or another file system (overlay) are not among them.
const LOCAL: [&[u8]; 11] =
    [b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"f2fs", b"bcachefs", b"tmpfs", b"ramfs", b"erofs", b"squashfs"];

/// Those of them that open a folder so, too. xfs takes a lock that is held across reads of the device, and may read its map of extents (`xfs_dir_open`); btrfs
/// looks up the last name's number (`btrfs_opendir`).
const LOCAL_FOLDERS: [&[u8]; 7] = [b"ext2", b"ext3", b"ext4", b"tmpfs", b"ramfs", b"erofs", b"squashfs"];

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
    folders: bool,
}

/// The last table, and when it was read. Nobody waits for it: who has it locked may be a thread of the process that this one was forked from.
static TABLE: Mutex<Option<(u64, Arc<Mounts>)>> = Mutex::new(None);

/// The table as it is, or was a second ago; `None` where there is no `/proc`.
pub(super) fn now() -> Option<Arc<Mounts>> {
    let time = coarse_millis();
    let good = lock_if_free(&TABLE).and_then(|last| {
        let (read, table) = last.as_ref()?;
        (time < read + GOOD).then(|| Arc::clone(table))
    });
    good.or_else(read)
}

/// The table as it is. Two may read it at once, and either's is right.
fn read() -> Option<Arc<Mounts>> {
    let time = coarse_millis();
    let text = std::fs::read("/proc/self/mountinfo").ok()?;
    let table = Arc::new(Mounts { mounts: parse(&text), here: std::env::current_dir().ok() });
    let mut former = None;
    if let Some(mut last) = TABLE.try_lock() {
        former = last.replace((time, Arc::clone(&table)));
    }
    drop(former);
    Some(table)
}

/// What `statx` has to be asked for [`of`].
pub(super) const ASKED: StatxFlags = StatxFlags::MNT_ID.union(UNIQUE);

/// What is known of an open file by its mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OnMount {
    /// A file of it that is in memory is opened for reading without asking anybody.
    pub(super) local: bool,
    /// So is a folder.
    pub(super) folders: bool,
    /// The number of the file system, where it has no device of its own: the same for all of a btrfs, whose subvolumes, and all of an overlayfs, whose layers,
    /// have numbers of their own, and get stuck together.
    pub(super) device: Option<u64>,
}

/// What the mount says of an open file, of which `statx` was asked for [`ASKED`]. Nothing of a pipe or a socket, which is on no mount that has a place, nor
/// where the kernel does not say on which mount it is (before Linux 5.8).
pub(super) fn of(file: BorrowedFd<'_>, found: &Statx) -> OnMount {
    let says = |flag: StatxFlags| found.stx_mask & flag.bits() != 0;
    if says(UNIQUE) {
        return known(found.stx_mnt_id).unwrap_or_else(|| find_out(file, found.stx_mnt_id));
    }
    let table = says(StatxFlags::MNT_ID).then(now).flatten();
    let mount = table.as_ref().and_then(|table| table.by_id(found.stx_mnt_id));
    let device = device_number(found.stx_dev_major, found.stx_dev_minor);
    mount.filter(|mount| !mount.has_device() || mount.device == device).map_or_else(OnMount::default, Mount::facts)
}

/// What was found out of mounts by the number that is no other's: such a number, and in the lowest bits what [`OnMount`] says. A number has as many places as a
/// row, of the row that it chooses; if none is free another one's is taken, which is then found out again.
static KNOWN: [[PlainU64; 8]; 32] = [const { [const { PlainU64::new(0) }; 8] }; 32];
const LOCAL_BIT: u64 = 1;
const DEVICE_BIT: u64 = 2;
const FOLDERS_BIT: u64 = 4;
/// The kernel's numbers of what has no device have 20 bits.
const DEVICE_SHIFT: u32 = 3;
const DEVICE_MASK: u64 = (1 << 20) - 1;
const NUMBER_SHIFT: u32 = DEVICE_SHIFT + 20;

fn row_of(number: u64) -> &'static [PlainU64; 8] {
    &KNOWN[number as usize % KNOWN.len()]
}

fn known(number: u64) -> Option<OnMount> {
    // Ordering: Relaxed: the word is all there is to it.
    let mut words = row_of(number).iter().map(|place| place.load(Relaxed));
    let word = words.find(|word| word >> NUMBER_SHIFT == number)?;
    let device = (word & DEVICE_BIT != 0).then_some((word >> DEVICE_SHIFT) & DEVICE_MASK);
    Some(OnMount { local: word & LOCAL_BIT != 0, folders: word & FOLDERS_BIT != 0, device })
}

fn know(number: u64, is: OnMount) {
    let device = is.device.unwrap_or(0);
    // One that does not fit is found out each time.
    if number << NUMBER_SHIFT >> NUMBER_SHIFT != number || device > DEVICE_MASK {
        return;
    }
    let row = row_of(number);
    let free = row.iter().position(|place| place.load(Relaxed) == 0);
    let at = free.unwrap_or(number as usize / KNOWN.len() % row.len());
    let kind = u64::from(is.local) * LOCAL_BIT + u64::from(is.folders) * FOLDERS_BIT;
    let bits = kind + u64::from(is.device.is_some()) * DEVICE_BIT;
    row[at].store((number << NUMBER_SHIFT) | (device << DEVICE_SHIFT) | bits, Relaxed);
}

/// The file keeps its mount, and so the mount its lesser number, for as long as this takes.
#[cold]
fn find_out(file: BorrowedFd<'_>, number: u64) -> OnMount {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let lesser = statx(file, c"", flags, StatxFlags::MNT_ID).ok();
    let Some(table) = lesser.is_some().then(read).flatten() else { return OnMount::default() };
    let mount = lesser.and_then(|found| table.by_id(found.stx_mnt_id));
    // One that has no place may be given one later: so nothing is remembered of it.
    let Some(is) = mount.map(Mount::facts) else { return OnMount::default() };
    know(number, is);
    is
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
    id.map_or(0, |id| now().and_then(|mounts| Some(mounts.by_id(id)?.device)).unwrap_or(1 << 63 | id))
}

impl Mounts {
    fn by_id(&self, id: u64) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.id == id)
    }

    /// Whether a file system is one of those on a device or in memory.
    pub(super) fn is_local_device(&self, device: u64) -> bool {
        self.mounts.iter().any(|mount| mount.device == device && mount.local)
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

impl Mount {
    fn has_device(&self) -> bool {
        self.device >> 32 != 0
    }

    fn facts(&self) -> OnMount {
        OnMount { local: self.local, folders: self.folders, device: (!self.has_device()).then_some(self.device) }
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
    let (local, folders) = (LOCAL.contains(&kind), LOCAL_FOLDERS.contains(&kind));
    Some(Mount { id, device: major << 32 | minor, point, local, folders })
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
    use std::{
        ffi::{CStr, CString},
        os::fd::AsFd,
    };

    use super::*;
    use crate::io::file::device_of;

    const TEXT: &str = "\
21 26 0:20 / /proc rw,nosuid - proc proc rw
26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 26 0:41 / /mnt/dead\\040mount rw master:3 propagate_from:1 - fuse.sshfs me@there: rw
31 30 8:1 / /mnt/dead\\040mount/inner rw - xfs /dev/sda1 rw
32 26 0:50 / /mnt/dead\\040mount/inner rw - nfs4 there:/ rw
33 26 0:51 / /mnt/a\\040b1234 rw - tmpfs tmpfs rw
nonsense
";

    #[test]
    fn the_deepest_and_last_mount_has_the_path() {
        let mounts = Mounts { mounts: parse(TEXT.as_bytes()), here: Some("/mnt/dead mount".into()) };
        assert_eq!(mounts.mounts.len(), 6);
        let device = |major: u64, minor: u64| major << 32 | minor;
        assert_eq!(mounts.place_of(Path::new("/etc/passwd")), device(254, 0));
        assert_eq!(mounts.place_of(Path::new("/mnt/dead mount/a")), device(0, 41));
        assert_eq!(mounts.place_of(Path::new("/mnt/dead mounts/a")), device(254, 0));
        assert_eq!(mounts.place_of(Path::new("inner/a")), device(0, 50));
        assert_eq!(mounts.place_of(Path::new("/mnt/a b1234/c")), device(0, 51));
        let none_beside = |path: &str| mounts.has_none_in(folder_of(Path::new(path)));
        assert!(is_name_in(b"/etc/", Path::new("/etc/a")) && !is_name_in(b"/etc/", Path::new("/etc/a/b")));
        assert!(none_beside("/etc/a") && none_beside("/mnt/dead mount/inner/a"));
        assert!(!none_beside("/mnt/dead mount/a") && !none_beside("/a") && !none_beside("etc/a") && !none_beside("a"));
        let facts = |id| mounts.by_id(id).map(Mount::facts);
        assert_eq!(facts(26), Some(OnMount { local: true, folders: true, device: None }));
        assert_eq!(facts(31), Some(OnMount { local: true, folders: false, device: None }));
        assert_eq!(facts(32), Some(OnMount { local: false, folders: false, device: Some(50) }));
        assert_eq!(facts(99), None);
        assert!(mounts.is_local_device(device(8, 1)) && !mounts.is_local_device(device(99, 1)));
    }

    #[test]
    fn an_open_file_is_on_the_file_system_of_its_mount() {
        let status = std::fs::File::open("/proc/self/status").expect("there is /proc");
        let proc = now().expect("there is /proc").place_of(Path::new("/proc/self/status"));
        assert_eq!((device_under(status.as_fd()), device_of(status.as_fd())), (proc, proc));
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("sockets");
        assert_eq!(device_under(one.as_fd()) >> 63, 1, "no device has such a number");
        assert_eq!(device_under(one.as_fd()), device_under(other.as_fd()));
    }

    #[test]
    fn a_mount_is_known_again_by_its_number() {
        // More than there is room for, none of them a number that the kernel gives.
        for number in 1..=1000 {
            let device = (number % 3 == 0).then_some(number);
            let is = OnMount { local: number % 2 == 0, folders: number % 4 == 0, device };
            know(number, is);
            assert_eq!((known(number), known(number + 1)), (Some(is), None));
        }
        for unfit in [(1 << 42, None), (1001, Some(1 << 20))] {
            know(unfit.0, OnMount { local: true, folders: true, device: unfit.1 });
            assert_eq!(known(unfit.0), None);
        }
        let most = OnMount { device: Some(DEVICE_MASK), ..OnMount::default() };
        know(1002, most);
        assert_eq!(known(1002), Some(most));
        // The number that is not a mount's own for ever is not looked for among these.
        let root = std::fs::File::open("/").expect("there");
        let found = statx(&root, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).expect("asked");
        let is = of(root.as_fd(), &found);
        know(found.stx_mnt_id, OnMount { local: !is.local, ..OnMount::default() });
        assert_eq!(of(root.as_fd(), &found), is);
    }

    #[test]
    fn either_number_of_a_mount_says_the_same() {
        for path in ["/", "/proc/self/status", "/dev/null", env!("CARGO_MANIFEST_DIR")] {
            let file = std::fs::File::open(path).expect("there");
            let of = |asked| {
                let found = statx(&file, c"", AtFlags::EMPTY_PATH, asked).expect("asked");
                super::of(file.as_fd(), &found)
            };
            let by_table = of(StatxFlags::MNT_ID);
            // Found out, and known.
            assert_eq!([of(ASKED), of(ASKED)], [by_table; 2], "{path}");
        }
    }

    #[test]
    fn an_old_table_is_read_again() {
        let old = Arc::new(Mounts { mounts: Vec::new(), here: None });
        let read = coarse_millis().saturating_sub(2 * GOOD);
        *TABLE.lock() = Some((read, Arc::clone(&old)));
        assert!(now().is_some_and(|table| !Arc::ptr_eq(&table, &old)));
    }

    /// Says to the test below that it runs in mounts of its own, which go away with its process.
    const APART: &str = "UNWEDGE_TEST_MOUNTS_APART";

    /// An overlay gives a file of a layer the number of none of its file systems.
    #[test]
    fn a_file_of_an_overlay_is_on_its_mount() {
        if std::env::var_os(APART).is_some() {
            return mount_an_overlay();
        }
        let me = std::env::current_exe().expect("a test knows its own file");
        let name = "io::mounts::tests::a_file_of_an_overlay_is_on_its_mount";
        let apart = std::process::Command::new("unshare")
            .args(["--mount", "--"])
            .arg(me)
            .args(["--exact", name, "--nocapture"])
            .env(APART, "")
            .output();
        let Ok(output) = apart else { return eprintln!("not tested: there is no unshare") };
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains("running 1 test") {
            return eprintln!("not tested: this process may have no mounts of its own");
        }
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }

    fn mount_an_overlay() {
        let mount = |kind: &CStr, at: &Path, options: &str| {
            let at = CString::new(at.as_os_str().as_bytes()).expect("no NUL");
            let options = CString::new(options).expect("no NUL");
            // SAFETY: the four strings end with a NUL byte and outlive the call.
            (unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) }) == 0
        };
        let dir = std::fs::canonicalize("/tmp").expect("there");
        if !mount(c"tmpfs", &dir, "") {
            return eprintln!("not tested: this process may not mount");
        }
        let [lower, upper, merged] = ["lower", "upper", "merged"].map(|name| dir.join(name));
        for folder in [&lower, &upper, &merged] {
            std::fs::create_dir(folder).expect("made");
        }
        assert!(mount(c"tmpfs", &lower, "") && mount(c"tmpfs", &upper, ""));
        std::fs::write(lower.join("object"), b"content").expect("written");
        let [files, work] = ["files", "work"].map(|name| upper.join(name));
        for folder in [&files, &work] {
            std::fs::create_dir(folder).expect("made");
        }
        let layers =
            format!("lowerdir={},upperdir={},workdir={},xino=off", lower.display(), files.display(), work.display());
        if !mount(c"overlay", &merged, &layers) {
            return eprintln!("not tested: this kernel has no overlays");
        }
        let object = std::fs::File::open(merged.join("object")).expect("there");
        let device = read().expect("there is /proc").place_of(&merged);
        let found = statx(&object, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).expect("asked");
        assert_eq!(device_of(object.as_fd()), device);
        assert_eq!(of(object.as_fd(), &found), OnMount { device: Some(device), ..OnMount::default() });
    }

    #[test]
    fn the_kernels_own_table_is_understood() {
        let mounts = now().expect("there is /proc");
        assert_ne!(mounts.place_of(Path::new("/proc/self/status")), mounts.place_of(Path::new("/")));
    }
}
