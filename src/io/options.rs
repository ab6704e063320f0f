//! How a file is opened, and what its path may not lead through.

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// How [`Io::open`](super::Io::open) opens: as in [`std::fs::OpenOptions`], and more. Every file is opened close-on-exec.
///
/// ```
/// use unwedge::io::{OpenOptions, Resolve};
///
/// let journal = OpenOptions::new().read(true).direct(true);
/// let table = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640);
/// let object = OpenOptions::new().read(true).resolve(Resolve::new().beneath(true).no_symlinks(true));
/// # assert!(journal != table && journal != object);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct OpenOptions {
    read: bool,
    write: bool,
    create: bool,
    create_new: bool,
    truncate: bool,
    /// Those that change nothing about what the options above mean.
    more: OFlags,
    mode: u32,
    resolve: Resolve,
}

impl OpenOptions {
    /// Nothing set: at least `read` or `write` is needed. Files that are created get mode 0o666, less the process's umask.
    pub const fn new() -> Self {
        OpenOptions {
            read: false,
            write: false,
            create: false,
            create_new: false,
            truncate: false,
            more: OFlags::empty(),
            mode: 0o666,
            resolve: Resolve::new(),
        }
    }

    /// Opens for reading. A directory is opened so, too: to read it, to sync it, to open files relative to it.
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
        self.with(OFlags::DIRECT, yes)
    }

    /// Each write is durable when it completes (`O_DSYNC`), as if followed by [`fdatasync`](super::Io::fdatasync).
    pub const fn data_sync(self, yes: bool) -> Self {
        self.with(OFlags::DSYNC, yes)
    }

    /// Fails if it is no directory (`O_DIRECTORY`).
    pub const fn directory(self, yes: bool) -> Self {
        self.with(OFlags::DIRECTORY, yes)
    }

    /// Fails if the path's last part is a symbolic link (`O_NOFOLLOW`); [`Resolve::no_symlinks`] is for all of its parts.
    pub const fn no_follow(self, yes: bool) -> Self {
        self.with(OFlags::NOFOLLOW, yes)
    }

    /// Leaves the time of the last access as it is (`O_NOATIME`); only who owns the file may.
    pub const fn no_atime(self, yes: bool) -> Self {
        self.with(OFlags::NOATIME, yes)
    }

    const fn with(self, flag: OFlags, yes: bool) -> Self {
        let more = if yes { self.more.union(flag) } else { self.more.difference(flag) };
        OpenOptions { more, ..self }
    }

    /// The permission bits of a file that is created.
    pub const fn mode(self, mode: u32) -> Self {
        OpenOptions { mode, ..self }
    }

    /// What the path may not lead through. Needs the kernel's `openat2`: where that is refused such an open is an error, never a laxer open.
    pub const fn resolve(self, resolve: Resolve) -> Self {
        OpenOptions { resolve, ..self }
    }

    pub(super) fn is_direct(self) -> bool {
        self.more.contains(OFlags::DIRECT)
    }

    /// Whether opening may create a file or destroy content.
    pub(super) fn changes_files(self) -> bool {
        self.create || self.create_new || self.truncate
    }

    pub(super) fn flags(self) -> OFlags {
        let mut flags = OFlags::CLOEXEC
            | self.more
            | match (self.read, self.write) {
                (_, false) => OFlags::RDONLY,
                (false, true) => OFlags::WRONLY,
                (true, true) => OFlags::RDWR,
            };
        flags.set(OFlags::CREATE, self.create || self.create_new);
        flags.set(OFlags::EXCL, self.create_new);
        flags.set(OFlags::TRUNC, self.truncate);
        flags
    }

    /// The permission bits of a file that is created. The kernel refuses them where none is.
    pub(super) fn permissions(self) -> Mode {
        if self.create || self.create_new { Mode::from_raw_mode(self.mode & 0o7777) } else { Mode::empty() }
    }

    pub(super) fn resolve_flags(self) -> ResolveFlags {
        self.resolve.0
    }

    /// What is wrong with the combination: the kernel would take some of them for a plain open, or empty a file that is only to be read.
    pub(super) fn mistake(self) -> Option<&'static str> {
        let both = ResolveFlags::BENEATH | ResolveFlags::IN_ROOT;
        if !self.read && !self.write {
            Some("neither read nor write")
        } else if !self.write && self.changes_files() {
            Some("create or truncate without write")
        } else if self.more.contains(OFlags::DIRECTORY) && (self.write || self.changes_files()) {
            Some("a directory cannot be opened for writing")
        } else if self.resolve.0.contains(both) {
            Some("beneath and in_root exclude each other")
        } else {
            None
        }
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions::new()
    }
}

/// What the resolution of a path may not do: the `RESOLVE_` flags of `openat2(2)`.
///
/// Nothing set: the path is resolved as always. For paths that come from a client, or lead through folders that others may change:
///
/// ```
/// use unwedge::{Stop, io::{Io, OpenOptions, Resolve}};
///
/// let stop = Stop::new("mds.a");
/// let io = Io::new(&stop)?;
/// let read = OpenOptions::new().read(true);
/// let folder = io.open("/proc/self", read.directory(true)).wait()??;
/// let confined = read.resolve(Resolve::new().beneath(true));
/// # if io.open_in(&folder, "status", confined).wait()?.is_err_and(|e| e.kind() == std::io::ErrorKind::Unsupported) { return Ok(()) }
/// io.open_in(&folder, "status", confined).wait()??;
/// let error = io.open_in(&folder, "../../etc/passwd", confined).wait()?.unwrap_err();
/// assert_eq!(error.to_string(), "open of /proc/self/../../etc/passwd: Invalid cross-device link (os error 18)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Resolve(ResolveFlags);

impl Resolve {
    /// Nothing is forbidden.
    pub const fn new() -> Self {
        Resolve(ResolveFlags::empty())
    }

    /// Fails if the path leads out of the directory where it starts, by `..`, a link or an absolute path: `EXDEV`.
    pub const fn beneath(self, yes: bool) -> Self {
        self.with(ResolveFlags::BENEATH, yes)
    }

    /// The directory where it starts is the path's root: `/` and `..` do not lead out of it, nor do links.
    pub const fn in_root(self, yes: bool) -> Self {
        self.with(ResolveFlags::IN_ROOT, yes)
    }

    /// Fails at any symbolic link: `ELOOP`.
    pub const fn no_symlinks(self, yes: bool) -> Self {
        self.with(ResolveFlags::NO_SYMLINKS, yes)
    }

    /// Fails at a link of `/proc` that leads elsewhere than its text says: `ELOOP`.
    pub const fn no_magiclinks(self, yes: bool) -> Self {
        self.with(ResolveFlags::NO_MAGICLINKS, yes)
    }

    /// Fails if the path leads to another mount: `EXDEV`.
    pub const fn no_xdev(self, yes: bool) -> Self {
        self.with(ResolveFlags::NO_XDEV, yes)
    }

    /// Fails, with `WouldBlock`, if the path is not in the kernel's caches: no name is asked of the storage. (Opening what it leads to may
    /// still wait.) Needs Linux 5.12.
    pub const fn cached(self, yes: bool) -> Self {
        self.with(ResolveFlags::CACHED, yes)
    }

    const fn with(self, flag: ResolveFlags, yes: bool) -> Self {
        Resolve(if yes { self.0.union(flag) } else { self.0.difference(flag) })
    }
}

impl Default for Resolve {
    fn default() -> Self {
        Resolve::new()
    }
}

#[cfg(test)]
mod tests {
    use super::OpenOptions;

    #[test]
    fn each_that_may_change_a_file_says_so() {
        let plain = OpenOptions::new().read(true).write(true);
        let may =
            [plain, plain.create(true), plain.create_new(true), plain.truncate(true)].map(|one| one.changes_files());
        assert_eq!(may, [false, true, true, true]);
    }
}
