//! A file system whose daemon stops answering: FUSE, spoken from this process, with one file in it.
//!
//! Only what the kernel asks for a file `object` of 1 MiB is known. A request of the frozen kind is read and never answered, until the mount goes away.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

pub const LEN: usize = 1 << 20;
pub const OPEN: u32 = 14;
pub const READ: u32 = 15;
pub const FLUSH: u32 = 25;
const NOTHING: u32 = 0;

pub struct Fuse {
    dir: PathBuf,
    frozen: Arc<AtomicU32>,
    held: Arc<AtomicUsize>,
}

impl Fuse {
    /// Mounts it on a folder of its own. Fails where this process may not mount.
    pub fn mount(dir: &Path) -> io::Result<Fuse> {
        fs::create_dir_all(dir)?;
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0\0", device.as_raw_fd());
        let target = format!("{}\0", dir.display());
        // SAFETY: the four strings end with a NUL byte and outlive the call.
        let mounted = unsafe {
            libc::mount(c"unwedge-test".as_ptr(), target.as_ptr().cast(), c"fuse".as_ptr(), 0, options.as_ptr().cast())
        };
        if mounted != 0 {
            return Err(io::Error::last_os_error());
        }
        let fuse = Fuse { dir: dir.to_owned(), frozen: Arc::default(), held: Arc::default() };
        let (frozen, held) = (Arc::clone(&fuse.frozen), Arc::clone(&fuse.held));
        thread::spawn(move || serve(device, &frozen, &held));
        Ok(fuse)
    }

    pub fn object(&self) -> PathBuf {
        self.dir.join("object")
    }

    /// From now on requests of this kind are not answered.
    pub fn freeze(&self, kind: u32) {
        self.frozen.store(kind, Relaxed);
    }

    /// How many requests were not answered.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }
}

impl Drop for Fuse {
    /// Takes the mount away: what waits for an answer gets an error.
    fn drop(&mut self) {
        self.frozen.store(NOTHING, Relaxed);
        let target = format!("{}\0", self.dir.display());
        // SAFETY: the string ends with a NUL byte and outlives the call.
        unsafe { libc::umount2(target.as_ptr().cast(), libc::MNT_FORCE | libc::MNT_DETACH) };
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Answers until the mount is gone.
fn serve(mut device: File, frozen: &AtomicU32, held: &AtomicUsize) {
    let mut request = vec![0; 1 << 18];
    loop {
        match device.read(&mut request) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENOENT | libc::EAGAIN)) => continue,
            Err(_) => return,
        }
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes"));
        let kind = word(4);
        let unique: [u8; 8] = request[8..16].try_into().expect("eight bytes");
        let node = word(16);
        if kind != NOTHING && kind == frozen.load(Relaxed) {
            held.fetch_add(1, Relaxed);
            continue;
        }
        const ENOSYS: i32 = libc::ENOSYS;
        let answer: Result<Vec<u8>, i32> = match kind {
            // LOOKUP, GETATTR
            1 if request[40..].starts_with(b"object\0") => {
                Ok([words(&[2, 0, 0, 0, 3600, 0, 3600, 0, 0, 0]), attributes(2)].concat())
            }
            1 => Err(libc::ENOENT),
            3 => Ok([words(&[3600, 0, 0, 0]), attributes(node)].concat()),
            // FORGET, INTERRUPT, BATCH_FORGET have no answer.
            2 | 36 | 42 => continue,
            // INIT: version 7.31, the rest as it comes.
            26 => Ok(words(&[7, 31, 1 << 16, 0, 16, 1 << 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            OPEN | 27 => Ok(words(&[1, 0, 0, 0])),
            READ => {
                let (offset, len) = (word(48) as usize, word(56) as usize);
                Ok((offset..(offset + len).min(LEN)).map(|at| at as u8).collect())
            }
            // RELEASE, FLUSH, RELEASEDIR
            18 | FLUSH | 29 => Ok(Vec::new()),
            _ => Err(ENOSYS),
        };
        let (error, body) = answer.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
        let head = words(&[16 + body.len() as u32, error as u32]);
        // It fails if the request was given up meanwhile.
        let _ = device.write(&[&head, &unique[..], &body].concat());
    }
}

/// The attributes of the root (1) or the object (2).
fn attributes(node: u32) -> Vec<u8> {
    let (mode, len) = if node == 1 { (libc::S_IFDIR | 0o755, 0) } else { (libc::S_IFREG | 0o644, LEN as u32) };
    words(&[node, 0, len, 0, len / 512, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
