//! A file system that misbehaves: FUSE, spoken from this process, with one file in it.
//!
//! Only what the kernel asks for a file `object` of 1 MiB is known. A request of a frozen kind is read and not answered before a thaw, or until the mount
//! goes away; one of a failing kind gets an error.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

pub const LEN: usize = 1 << 20;
pub const LOOKUP: u32 = 1;
pub const OPEN: u32 = 14;
pub const READ: u32 = 15;
pub const WRITE: u32 = 16;
pub const FSYNC: u32 = 20;
pub const FLUSH: u32 = 25;
pub const OPENDIR: u32 = 27;
pub const READDIR: u32 = 28;

/// Gives the process mounts of its own: so that none outlives it, however it ends. Only where its first thread asks, as in a test without a harness: what
/// other threads unshare is not what the process's list of mounts shows.
fn own_mounts() -> io::Result<()> {
    thread_local! { static OWN: Cell<bool> = const { Cell::new(false) } }
    if OWN.get() || rustix::thread::gettid() != rustix::process::getpid() {
        return Ok(());
    }
    // SAFETY: it takes no memory, and changes only where this thread looks for files.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the string ends with a NUL byte and outlives the call; the other pointers may be null.
    if unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    OWN.set(true);
    Ok(())
}

pub struct Fuse {
    dir: PathBuf,
    rules: Arc<Rules>,
}

/// How it misbehaves.
#[derive(Default)]
struct Rules {
    /// A bit for each kind of request.
    frozen: AtomicU64,
    held: AtomicUsize,
    /// Requests that were not answered, for a thaw.
    kept: Mutex<Vec<Vec<u8>>>,
    failing: AtomicU64,
    errno: AtomicI32,
    /// How many more requests fail.
    failures: AtomicUsize,
    /// Requests are not even read, and that the thread which reads knows it.
    deaf: AtomicBool,
    heeded: AtomicBool,
    /// For answers out of turn.
    device: Mutex<Option<File>>,
    content: Mutex<Vec<u8>>,
}

impl Fuse {
    /// Mounts it on a folder of its own. Fails where this process may not mount.
    pub fn mount(dir: &Path) -> io::Result<Fuse> {
        own_mounts()?;
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        fs::create_dir_all(dir)?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0\0", device.as_raw_fd());
        let target = format!("{}\0", dir.display());
        // SAFETY: the four strings end with a NUL byte and outlive the call.
        let mounted = unsafe {
            libc::mount(c"unwedge-test".as_ptr(), target.as_ptr().cast(), c"fuse".as_ptr(), 0, options.as_ptr().cast())
        };
        if mounted != 0 {
            let error = io::Error::last_os_error();
            let _ = fs::remove_dir(dir);
            return Err(error);
        }
        let rules = Arc::new(Rules {
            device: Mutex::new(Some(device.try_clone()?)),
            content: Mutex::new((0..LEN).map(|at| at as u8).collect()),
            ..Rules::default()
        });
        let fuse = Fuse { dir: dir.to_owned(), rules: Arc::clone(&rules) };
        thread::spawn(move || serve(device, &rules));
        Ok(fuse)
    }

    /// The folder that it is mounted on.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn object(&self) -> PathBuf {
        self.dir.join("object")
    }

    /// From now on requests of this kind are not answered.
    pub fn freeze(&self, kind: u32) {
        self.rules.frozen.fetch_or(1 << kind, Relaxed);
    }

    /// From now on no request is read, as by a daemon that was stopped.
    pub fn deafen(&self) {
        self.rules.heeded.store(false, Relaxed);
        self.rules.deaf.store(true, Relaxed);
        while !self.rules.heeded.load(Relaxed) {
            thread::yield_now();
        }
    }

    /// Whether a request waits to be read.
    pub fn has_request(&self) -> bool {
        self.rules.device.lock().expect("device").as_ref().is_some_and(|device| has_request(device, 0))
    }

    /// From now on every request is answered; those that were not, now.
    pub fn thaw(&self) {
        self.rules.deaf.store(false, Relaxed);
        self.rules.frozen.store(0, Relaxed);
        let kept = std::mem::take(&mut *self.rules.kept.lock().expect("kept"));
        if let Some(device) = &mut *self.rules.device.lock().expect("device") {
            kept.iter().for_each(|request| answer(device, request, &self.rules));
        }
        self.rules.held.store(0, Relaxed);
    }

    /// How many requests were not answered.
    pub fn held(&self) -> usize {
        self.rules.held.load(Relaxed)
    }

    /// The next so many requests of this kind fail.
    pub fn fail(&self, kind: u32, errno: i32, times: usize) {
        self.rules.errno.store(errno, Relaxed);
        self.rules.failures.store(times, Relaxed);
        self.rules.failing.store(1 << kind, Relaxed);
    }
}

impl Drop for Fuse {
    /// Takes the mount away: what waits for an answer gets an error.
    fn drop(&mut self) {
        self.rules.frozen.store(0, Relaxed);
        self.rules.deaf.store(false, Relaxed);
        let target = format!("{}\0", self.dir.display());
        // SAFETY: the string ends with a NUL byte and outlives the call.
        unsafe { libc::umount2(target.as_ptr().cast(), libc::MNT_FORCE | libc::MNT_DETACH) };
        // With the last of its descriptors the connection ends.
        *self.rules.device.lock().expect("device") = None;
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Answers until the mount is gone.
fn serve(mut device: File, rules: &Rules) {
    let mut request = vec![0; 1 << 18];
    loop {
        if rules.deaf.load(Relaxed) {
            rules.heeded.store(true, Relaxed);
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        if !has_request(&device, 5) {
            continue;
        }
        let len = match device.read(&mut request) {
            Ok(len) => len,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENOENT | libc::EAGAIN)) => continue,
            Err(_) => return,
        };
        let kind = u32::from_ne_bytes(request[4..8].try_into().expect("four bytes"));
        if kind < 64 && rules.frozen.load(Relaxed) & 1 << kind != 0 {
            rules.kept.lock().expect("kept").push(request[..len].to_vec());
            rules.held.fetch_add(1, Relaxed);
            continue;
        }
        answer(&mut device, &request[..len], rules);
    }
}

/// Whether there is something to be read, or the mount is gone, within so many milliseconds.
fn has_request(device: &File, patience: i32) -> bool {
    let mut poll = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: it is one entry, valid for reading and writing.
    unsafe { libc::poll(&mut poll, 1, patience) > 0 }
}

fn answer(device: &mut File, request: &[u8], rules: &Rules) {
    let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes"));
    let kind = word(4);
    let unique: [u8; 8] = request[8..16].try_into().expect("eight bytes");
    let node = word(16);
    const ENOSYS: i32 = libc::ENOSYS;
    let fails = kind < 64
        && rules.failing.load(Relaxed) & 1 << kind != 0
        && rules.failures.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
    let body: Result<Vec<u8>, i32> = match kind {
        _ if fails => Err(rules.errno.load(Relaxed)),
        LOOKUP if request[40..].starts_with(b"object\0") => {
            Ok([words(&[2, 0, 0, 0, 3600, 0, 3600, 0, 0, 0]), attributes(2)].concat())
        }
        LOOKUP => Err(libc::ENOENT),
        // SETATTR, GETATTR
        3 | 4 => Ok([words(&[3600, 0, 0, 0]), attributes(node)].concat()),
        // FORGET, INTERRUPT, BATCH_FORGET have no answer.
        2 | 36 | 42 => return,
        // INIT: version 7.31, lookups side by side (PARALLEL_DIROPS), the rest as it comes.
        26 => Ok(words(&[7, 31, 1 << 16, 1 << 18, 16, 1 << 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        OPEN => Ok(words(&[1, 0, 0, 0])),
        OPENDIR => Ok(words(&[1, 0, 0, 0])),
        READ => {
            let (offset, len) = (word(48) as usize, word(56) as usize);
            Ok(rules.content.lock().expect("content")[offset.min(LEN)..(offset + len).min(LEN)].to_vec())
        }
        WRITE => {
            let (offset, len) = (word(48) as usize, word(56) as usize);
            rules.content.lock().expect("content")[offset..offset + len].copy_from_slice(&request[80..80 + len]);
            Ok(words(&[len as u32, 0]))
        }
        // One name, then the end.
        READDIR if word(48) == 0 => Ok([words(&[2, 0, 1, 0, 6, 8]), b"object\0\0".to_vec()].concat()),
        // RELEASE, FSYNC, FLUSH, READDIR, RELEASEDIR
        18 | FSYNC | FLUSH | READDIR | 29 => Ok(Vec::new()),
        _ => Err(ENOSYS),
    };
    let (error, body) = body.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
    let head = words(&[16 + body.len() as u32, error as u32]);
    // It fails if the request was given up meanwhile.
    let _ = device.write(&[&head, &unique[..], &body].concat());
}

/// The attributes of the root (1) or the object (2).
fn attributes(node: u32) -> Vec<u8> {
    let (mode, len) = if node == 1 { (libc::S_IFDIR | 0o755, 0) } else { (libc::S_IFREG | 0o644, LEN as u32) };
    words(&[node, 0, len, 0, len / 512, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
