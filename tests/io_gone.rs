//! Until the process is gone: from SIGTERM to the end of a daemon whose storage hangs in the kernel, for every operation and on both backends.
//!
//! Without a test harness: this program serves the file system that hangs, and runs itself as the daemon. Needs the right to mount; says so and ends
//! where it has none. It prints how long each took; the figures are not judged, only that the process goes while its storage still hangs, where
//! that is what the documentation of `unwedge::io` says.

#[path = "io/fuse.rs"]
#[expect(dead_code, reason = "not all of it is needed here")]
mod fuse;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fuse::Fuse;
use unwedge::{
    Plan, Stop,
    io::{Backend, Io, IoBufMut, OpenOptions},
};

const GUARD: Duration = Duration::from_secs(30);
/// How long a process is watched that is known not to go before its storage answers.
const WATCHED: Duration = Duration::from_millis(300);
const READ: OpenOptions = OpenOptions::new().read(true);
const DAEMON: &str = "UNWEDGE_TEST_DAEMON";

fn main() {
    if let Ok(what) = env::var(DAEMON) {
        return daemon(&what);
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gone-{}", std::process::id()));
    match Fuse::mount(&dir) {
        Ok(fuse) => drop(fuse),
        Err(error) => return println!("io_gone: not tested: this process may not mount a FUSE file system: {error}"),
    }
    let uring = Io::builder(&Stop::new("probe")).backend(Backend::Uring).build().is_ok();
    for backend in ["uring", "pool"] {
        if backend == "uring" && !uring {
            println!("io_gone: not tested on io_uring: there is none");
            continue;
        }
        for (operation, kind) in OPERATIONS {
            // Its storage's process has stopped: requests are not read.
            let fuse = Fuse::mount(&dir).expect("it could be mounted before");
            fuse.fail(fuse::FLUSH, libc::ENOSYS, usize::MAX);
            let hangs = || fuse.has_request();
            fate(backend, operation, "unread", &fuse.object(), || fuse.deafen(), hangs, || fuse.thaw(), true);
            drop(fuse);
            // It lives, has read the request, and does not answer.
            let fuse = Fuse::mount(&dir).expect("it could be mounted before");
            fuse.fail(fuse::FLUSH, libc::ENOSYS, usize::MAX);
            let hangs = || fuse.held() > 0;
            fate(backend, operation, "unanswered", &fuse.object(), || fuse.freeze(kind), hangs, || fuse.thaw(), false);
        }
        let fuse = Fuse::mount(&dir).expect("it could be mounted before");
        let hangs = || fuse.has_request();
        fate(backend, "close", "unread", &fuse.object(), || fuse.deafen(), hangs, || fuse.thaw(), false);
        drop(fuse);
        for (operation, goes) in ON_A_DISK {
            let fuse = Fuse::mount(&dir).expect("it could be mounted before");
            let Some(disk) = Loop::over(&fuse.object()) else {
                println!("io_gone: not tested on a block device: there is no loop device to be had");
                break;
            };
            let freeze = || [fuse::READ, fuse::WRITE, fuse::FSYNC].into_iter().for_each(|kind| fuse.freeze(kind));
            let hangs = || fuse.held() > 0;
            fate(backend, operation, "disk", &disk.path, freeze, hangs, || fuse.thaw(), goes.contains(&backend));
            fuse.thaw();
            drop(disk);
        }
    }
    println!("io_gone: ok");
}

/// What is done on the file system, and the request that it makes.
const OPERATIONS: [(&str, u32); 6] = [
    ("open", fuse::OPEN),
    ("stat", fuse::LOOKUP),
    ("read", fuse::READ),
    ("write", fuse::WRITE),
    ("fsync", fuse::FSYNC),
    ("read_dir", fuse::READDIR),
];

/// What is done on a disk that does not answer, and on which backends the process goes all the same.
const ON_A_DISK: [(&str, &[&str]); 3] =
    [("read", &["uring", "pool"]), ("direct read", &["uring"]), ("written fsync", &[])];

/// A daemon whose operation hangs is stopped: whether, and when, its process is gone.
#[expect(clippy::too_many_arguments, reason = "three words, three things to do, and what is expected")]
fn fate(
    backend: &str,
    operation: &str,
    storage: &str,
    path: &Path,
    freeze: impl Fn(),
    hangs: impl Fn() -> bool,
    thaw: impl Fn(),
    goes: bool,
) {
    let me = env::current_exe().expect("this program");
    let locked = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gone-lock-{}", std::process::id()));
    let what = format!("{backend}\n{operation}\n{}\n{}", path.display(), locked.display());
    let daemon = Command::new(me).env(DAEMON, what).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    let mut daemon = Daemon(daemon);
    let mut lines = BufReader::new(daemon.0.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().map(|line| line.expect("read")).unwrap_or_default();
    let port: u16 = line().parse().expect("it has begun, and listens");
    freeze();
    daemon.0.stdin.take().expect("a pipe").write_all(b"go\n").expect("written");
    assert_eq!(line(), "begun");
    until("it hangs", &hangs);

    let begun = Instant::now();
    // SAFETY: `kill` takes no memory; the child has not been waited for, so its number is no other's.
    assert_eq!(unsafe { libc::kill(daemon.0.id() as i32, libc::SIGTERM) }, 0);
    let stopped = line();
    let mut gone = false;
    while begun.elapsed() < if goes { GUARD } else { WATCHED } {
        gone = daemon.0.try_wait().expect("waited").is_some();
        if gone {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begun.elapsed();
    if gone {
        println!("io_gone: {backend}, {operation}, {storage}: gone {took:?} after SIGTERM ({stopped})");
    } else {
        println!("io_gone: {backend}, {operation}, {storage}: still there after {took:?}, as documented ({stopped})");
    }
    assert_eq!(gone, goes, "{backend}, {operation}, {storage}");
    // The next life can start in either case: nobody has its port, nor its lock.
    drop(TcpListener::bind(("127.0.0.1", port)).expect("the port is free"));
    let lock = fs::File::open(&locked).expect("there");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("the lock is free");
    fs::remove_file(&locked).expect("removed");
    thaw();
    until("the process is gone when the storage answers", || {
        thaw();
        daemon.0.try_wait().expect("waited").is_some()
    });
}

/// Does not outlive the test, as far as that can be.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + GUARD;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A block device over a file, by the system's own tool. It is held open here: whoever closes one last waits until it is idle, which no file of a
/// file system on a disk makes anybody do.
struct Loop {
    path: PathBuf,
    _open: fs::File,
}

impl Loop {
    fn over(file: &Path) -> Option<Loop> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        if !made.status.success() {
            return None;
        }
        let path = PathBuf::from(String::from_utf8(made.stdout).ok()?.trim());
        let open = fs::File::open(&path);
        // It goes when the last who has it open closes it: so with this process, however that ends.
        let _ = Command::new("losetup").arg("--detach").arg(&path).status();
        Some(Loop { path, _open: open.ok()? })
    }
}

/// The daemon: begins what it is told to, waits for SIGTERM, stops, and says so.
fn daemon(what: &str) {
    let signals = block_sigterm();
    let [backend, operation, path, locked] = what.split('\n').collect::<Vec<_>>()[..] else { panic!("four words") };
    let backend = if backend == "uring" { Backend::Uring } else { Backend::Pool };
    let stop = Stop::new("daemon");
    let io = Io::builder(&stop).backend(backend).build().expect("a backend");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let lock = fs::File::create(locked).expect("a file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let options = READ.write(!operation.contains("read")).direct(operation.starts_with("direct"));
    let open = || io.open(path, options).wait().expect("not stopped").expect("opened");
    // Once without need: a file system that does not flush says so then. (Its close has been done when the other one is open.)
    drop(std::fs::File::open(path).expect("opened"));
    let file = open();
    println!("{}", listener.local_addr().expect("an address").port());
    std::io::stdin().read_exact(&mut [0; 3]).expect("told to go on");

    let beside = Path::new(path).with_file_name("other");
    let mut names = io.read_dir(Path::new(path).parent().expect("a folder"));
    let mut file = Some(file);
    let begun: Box<dyn std::any::Any> = match operation {
        "open" => Box::new(io.open(path, READ)),
        "stat" => Box::new(io.stat(beside)),
        "read" => Box::new(io.read_at(file.as_ref().expect("open"), vec![0; 4096], 512 << 10)),
        "direct read" => Box::new(io.read_at(file.as_ref().expect("open"), Aligned::default(), 512 << 10)),
        "write" => Box::new(io.write_at(file.as_ref().expect("open"), vec![0; 100], 0)),
        "fsync" => Box::new(io.fsync(file.as_ref().expect("open"))),
        "written fsync" => {
            let file = file.as_ref().expect("open");
            io.write_at(file, vec![7; 4096], 0).wait().expect("not stopped").expect("into the page cache");
            Box::new(io.fsync(file))
        }
        "read_dir" => Box::new(names.batch().is_complete()),
        "close" => {
            drop(file.take());
            Box::new(())
        }
        _ => panic!("an operation"),
    };
    println!("begun");
    wait_for(&signals);
    // What the next life needs is let go first: sockets, and files that are locked.
    drop((listener, lock));
    let clock = Instant::now();
    let report = stop.shutdown(Plan::within(Duration::from_millis(20)));
    println!("stopped in {:?}, {} operations left", clock.elapsed(), report.leaked_operations());
    drop(begun);
    fs::write("/dev/null", b"").expect("what is not hung still works");
}

/// A page for direct I/O.
struct Aligned(Vec<u8>, usize);

impl Default for Aligned {
    fn default() -> Self {
        let bytes = vec![0; 8192];
        let start = bytes.as_ptr().align_offset(4096);
        Aligned(bytes, start)
    }
}

impl IoBufMut for Aligned {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0[self.1..self.1 + 4096]
    }

    fn cut(&mut self, _: usize) {}
}

/// Has SIGTERM wait, on every thread to come too, until it is asked for.
fn block_sigterm() -> OwnedFd {
    use std::os::fd::FromRawFd;
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is valid for writing.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: it was initialised by the call above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM) };
    // SAFETY: as above; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: as above.
    let fd = unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: the call gave a new descriptor that is nobody's yet.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn wait_for(signals: &OwnedFd) {
    let mut info = [0; 128];
    assert!(rustix::io::read(signals, &mut info).is_ok(), "descriptor {}", signals.as_raw_fd());
}
