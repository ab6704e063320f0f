//! Storage that stops answering for good, for real: opens, reads and closes that hang in the kernel on a FUSE mount whose daemon is silent.
//!
//! Needs the right to mount; says so and ends where it has none. In a file of its own, because it looks at the threads of the process.

#[path = "io/fuse.rs"]
#[expect(dead_code, reason = "not all of it is needed here")]
mod fuse;

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use fuse::Fuse;
use unwedge::{
    Plan, Stop, WaitError,
    io::{Backend, File, Io, OpenOptions},
};

const GUARD: Duration = Duration::from_secs(30);
const READ: OpenOptions = OpenOptions::new().read(true);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + GUARD;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn open(io: &Io, path: &Path) -> File {
    io.open(path, READ).wait_until(Instant::now() + GUARD).expect("a result").expect("opened")
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("proc").count()
}

/// A life whose storage freezes: `hang` makes `hung` requests hang. What does not touch that mount goes on; the stop is on time and counts what is left, which comes
/// back when the mount goes.
fn life(backend: Backend, kind: u32, hung: usize, hang: impl FnOnce(&Io, &Fuse, File)) {
    let before = threads();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("frozen-{}-{kind}-{backend:?}", std::process::id()));
    let fuse = Fuse::mount(&dir).expect("it could be mounted before");
    let elsewhere = dir.with_extension("elsewhere");
    fs::write(&elsewhere, b"content").expect("a file");

    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(backend).threads(4).build().expect("a backend");
    let file = open(&io, &fuse.object());
    // Warm, so that the name is in the kernel's caches: the tempting case.
    let read = io.read_at(&file, vec![0; 100], 3).wait_until(Instant::now() + GUARD).expect("a result").expect("read");
    assert_eq!(read, (3..103).collect::<Vec<u8>>());

    fuse.freeze(kind);
    hang(&io, &fuse, file);
    until("the requests hang", || fuse.held() > 0);

    // The backend is not stuck with them.
    let other = open(&io, &elsewhere);
    for len in [7, 8] {
        let read =
            io.read_at(&other, vec![0; len], 0).wait_until(Instant::now() + GUARD).expect("a result").expect("read");
        assert_eq!(read, b"content");
    }
    drop((other, io));

    let report = stop.shutdown(Plan::within(Duration::from_millis(50)));
    assert_eq!(report.leaked_operations(), hung, "{report}");
    assert!(!report.is_clean());

    // The storage is gone for good: the kernel gives back what it had.
    drop(fuse);
    until("all threads end", || threads() <= before);
    let _ = fs::remove_file(elsewhere);
}

#[test]
fn a_stop_is_on_time_whatever_hangs() {
    let probe = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("frozen-{}", std::process::id()));
    if let Err(error) = Fuse::mount(&probe) {
        return eprintln!("not tested: this process may not mount a FUSE file system: {error}");
    }
    let uring = Io::builder(&Stop::new("probe")).backend(Backend::Uring).build().is_ok();
    for backend in [Backend::Uring, Backend::Pool] {
        if backend == Backend::Uring && !uring {
            eprintln!("not tested on io_uring: there is none");
            continue;
        }
        // More opens than the pool has threads and the kernel has workers for a processor.
        life(backend, fuse::OPEN, 20, |io, fuse, _file| {
            let opens: Vec<_> = (0..20).map(|_| io.open(fuse.object(), READ)).collect();
            until("all of them hang", || fuse.held() >= 20);
            drop(opens);
        });
        life(backend, fuse::READ, 5, |io, fuse, file| {
            let mut reads: Vec<_> = (0..5).map(|i| io.read_at(&file, vec![0; 4096], (8 + i) << 16)).collect();
            until("all of them hang", || fuse.held() >= 5);
            assert_eq!(reads[0].wait_until(Instant::now()).err(), Some(WaitError::TimedOut));
        });
        life(backend, fuse::FLUSH, 1, |_, _, file| drop(file));
    }
}
