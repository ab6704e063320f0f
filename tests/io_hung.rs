//! Every operation hung in the kernel, and every way to wait for it: none of them outlives a stop, a deadline, a cancel or a drop.
//!
//! The storage is a FUSE mount whose daemon is silent. Needs the right to mount; says so and ends where it has none.

#[path = "io/backends.rs"]
mod backends;
#[path = "io/fuse.rs"]
#[expect(dead_code, reason = "not all of it is needed here")]
mod fuse;
#[path = "io/help.rs"]
#[expect(dead_code, reason = "not all of it is needed here")]
mod help;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use backends::backends;
use fuse::Fuse;
use help::{Dir, READ, block_on, get, guard, until};
use unwedge::{
    Abandoned, Completion, Monitor, Plan, Stop, WaitError,
    io::{Backend, File, Io, Operation},
};

/// One folder a mount: a test's name.
fn mount(name: &str) -> Option<Fuse> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hung-{}-{name}", std::process::id()));
    match Fuse::mount(&dir) {
        Ok(fuse) => Some(fuse),
        Err(error) => {
            eprintln!("not tested: this process may not mount a FUSE file system: {error}");
            None
        }
    }
}

/// A life in which an operation hangs six times, each waited for in another way.
fn each_way<T, E>(backend: Backend, fuse: &Fuse, kind: u32, begin: impl Fn(&Io, &File) -> Completion<T, E> + Sync)
where
    T: Send,
    E: From<Abandoned> + Send,
{
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(backend).build().expect("a backend");
    let file = get(io.open(fuse.object(), READ.write(true))).expect("opened");
    fuse.freeze(kind);
    let monitor = Monitor::new("lock", Mutex::new(()), &stop);
    let (ready, stopped) = (Barrier::new(4), AtomicUsize::new(0));
    let begin = || begin(&io, &file);

    let mut timed = begin();
    assert_eq!(timed.wait_until(Instant::now() + Duration::from_millis(5)).err(), Some(WaitError::TimedOut));
    assert!(begin().cancel().is_none());
    drop(begin());
    thread::scope(|threads| {
        threads.spawn(|| {
            ready.wait();
            assert!(begin().wait().is_err(), "a thread");
            stopped.fetch_add(1, Relaxed);
        });
        threads.spawn(|| {
            ready.wait();
            assert!(block_on(begin()).is_err(), "a task");
            stopped.fetch_add(1, Relaxed);
        });
        threads.spawn(|| {
            let held = monitor.lock().expect("free");
            ready.wait();
            assert!(held.wait_for(&mut begin()).is_err(), "under a monitor's lock");
            stopped.fetch_add(1, Relaxed);
        });
        ready.wait();
        until("it hangs", || fuse.held() > 0);
        // Some have begun to wait and some have not: both end.
        assert_eq!(stopped.load(Relaxed), 0);
        stop.request("test");
    });
    assert_eq!(stopped.load(Relaxed), 3);
    assert!(timed.wait_until(guard()).is_err_and(|error| error.is_stopped()));
    let hung = fuse.held();
    let report = stop.shutdown(Plan::within(Duration::from_millis(20)));
    // Six, of which one may be two reads; one that was not wanted any more may not have been begun.
    let leaked = report.leaked_operations();
    assert!((1..=12).contains(&leaked), "{leaked} left, {hung} hung: {report}");

    // The storage is back: all that was kept is given back.
    fuse.thaw();
    until("the operations end", || {
        fuse.thaw();
        io.metrics().in_flight() == 0
    });
    drop(file);
}

#[test]
fn no_wait_outlives_its_end() {
    let Some(fuse) = mount("ways") else { return };
    let other = |fuse: &Fuse| fuse.dir().join("other");
    for backend in backends() {
        each_way(backend, &fuse, fuse::OPEN, |io, _| io.open(fuse.object(), READ));
        each_way(backend, &fuse, fuse::LOOKUP, |io, _| io.open(other(&fuse), READ));
        each_way(backend, &fuse, fuse::LOOKUP, |io, _| io.stat(other(&fuse)));
        each_way(backend, &fuse, fuse::LOOKUP, |io, _| io.stat_many(vec![fuse.object(), other(&fuse)]));
        each_way(backend, &fuse, fuse::LOOKUP, |io, _| io.remove_file(other(&fuse)));
        each_way(backend, &fuse, fuse::LOOKUP, |io, _| io.create_dir(other(&fuse), 0o700));
        each_way(backend, &fuse, fuse::LOOKUP, |io, _| io.rename(other(&fuse), fuse.dir().join("another")));
        let place = AtomicUsize::new(0);
        // Each at another place: what was read once may lie in the page cache.
        let next = || place.fetch_add(1, Relaxed) as u64 * 8192;
        each_way(backend, &fuse, fuse::READ, |io, file| io.read_at(file, vec![0; 4096], next()));
        each_way(backend, &fuse, fuse::READ, |io, file| io.read_exact_at(file, vec![0; 4096], next()));
        each_way(backend, &fuse, fuse::READ, |io, file| {
            io.read_ranges(file, vec![(next(), vec![0; 100]), (next(), vec![0; 100])])
        });
        each_way(backend, &fuse, fuse::WRITE, |io, file| io.write_at(file, vec![0; 10], 0));
        each_way(backend, &fuse, fuse::FSYNC, |io, file| io.fsync(file));
        each_way(backend, &fuse, fuse::FSYNC, |io, file| io.fdatasync(file));
        let folders = Mutex::new(Vec::new());
        each_way(backend, &fuse, fuse::READDIR, |io, _| {
            let mut names = io.read_dir(fuse.dir());
            let mut batch = Completion::ready(Err(Abandoned.into()), &Stop::new("taken"));
            std::mem::swap(&mut batch, names.batch());
            folders.lock().expect("folders").push(names);
            batch
        });
        each_way(backend, &fuse, fuse::READ, |io, _| {
            let path = fuse.object();
            let at = next();
            io.run_blocking("read", move || {
                use std::os::unix::fs::FileExt;
                std::fs::File::open(path).and_then(|file| file.read_at(&mut [0; 10], at)).is_ok()
            })
        });
    }
}

/// Two hundred requests that hang on one mount: those elsewhere are answered, by whatever the pool has them done.
#[test]
fn a_dead_mount_does_not_take_the_pool() {
    let Some(fuse) = mount("dead") else { return };
    for backend in backends() {
        let (stop, dir) = (Stop::new("test"), Dir::new());
        let io = Io::builder(&stop).backend(backend).threads(2).build().expect("a backend");
        let path = dir.file("object", b"content");
        fuse.freeze(fuse::LOOKUP);
        let missing = |i: usize| -> PathBuf { fuse.dir().join(format!("missing-{i}")) };
        let hung: Vec<_> = (0..200).map(|i| io.stat(missing(i))).collect();
        until("the pool grows to what one device may have", || fuse.held() >= 64);
        let answered = Instant::now();
        for _ in 0..100 {
            assert_eq!(get(io.stat(&path)).expect("there").len(), 7);
            assert_eq!(get(io.run_blocking("job", || 7)), Ok(7));
        }
        let many: Vec<_> = (0..100).map(|i| if i % 10 == 0 { missing(i) } else { path.clone() }).collect();
        let mut mixed = io.stat_many(many);
        assert!(mixed.wait_until(Instant::now() + Duration::from_millis(30)).is_err(), "some of them hang");
        eprintln!("{backend:?}: 200 answers beside a dead mount took {:?}", answered.elapsed());
        assert_eq!(fuse.held(), 64, "no more are begun");
        assert_eq!(io.metrics().operation(Operation::Stat).in_flight(), 201);

        drop((hung, mixed));
        // Long enough for the threads that do not hang to end, also on a busy machine: those that hang take all of it.
        let report = stop.shutdown(Plan::within(Duration::from_secs(3)));
        assert_eq!((report.leaked_operations(), report.leaked_threads()), (64, 64), "{report}");
        fuse.thaw();
        until("all threads end", || io.metrics().pool_threads() == 0);
    }
}

/// A device that is slow, not dead: the waits end at the stop, long before it answers; the shutdown is over when it has, and leaves nothing.
#[test]
fn a_slow_device_holds_up_no_wait() {
    let Some(fuse) = mount("slow") else { return };
    for backend in backends() {
        let stop = Stop::new("test");
        let io = Io::builder(&stop).backend(backend).build().expect("a backend");
        let file = get(io.open(fuse.object(), READ)).expect("opened");
        // Nothing of it is in the page cache.
        let cold = || rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
        let read = |i: u64| io.read_at(&file, vec![0; 4096], i * (128 << 10));
        cold();
        fuse.freeze(fuse::READ);
        let late: Vec<_> = (0..8).map(read).collect();
        until("it is asked", || fuse.held() > 0);
        fuse.thaw();
        for read in late {
            assert!(get(read).expect("read").iter().enumerate().all(|(at, byte)| *byte == at as u8), "late, and right");
        }

        cold();
        fuse.freeze(fuse::READ);
        let mut waits: Vec<_> = (0..8).map(read).collect();
        until("it is asked", || fuse.held() > 0);
        stop.request("test");
        for wait in &mut waits {
            assert!(wait.wait_until(guard()).is_err_and(|error| error.is_stopped()));
        }
        assert!(fuse.held() > 0 && io.metrics().in_flight() > 0, "it has not answered");
        drop((waits, file));
        let closing = stop.clone();
        let shutdown = thread::spawn(move || closing.shutdown(Plan::within(help::GUARD)));
        until("it answers at last", || {
            fuse.thaw();
            shutdown.is_finished()
        });
        let report = shutdown.join().expect("ended");
        assert!(report.is_clean(), "{report}");
    }
}

/// The deadline of operations holds for whatever hangs.
#[test]
fn what_hangs_is_told_at_its_deadline() {
    let Some(fuse) = mount("deadline") else { return };
    for backend in backends() {
        let stop = Stop::new("test");
        let limit = Duration::from_millis(20);
        let io = Io::builder(&stop).backend(backend).deadline(limit).build().expect("a backend");
        // Patient, on a machine that may be as late as the limit with anything.
        let patient = Io::builder(&stop).backend(backend).build().expect("a backend");
        let file = get(patient.open(fuse.object(), READ.write(true))).expect("opened");
        // Nothing of it is in the page cache.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        fuse.freeze(fuse::LOOKUP);
        let other = fuse.dir().join("other");
        let open = get(io.open(&other, READ)).expect_err("not answered");
        let stat = get(io.stat(&other)).expect_err("not answered");
        let many = get(io.stat_many([other.clone()])).expect_err("not answered");
        let change = get(io.create_dir(&other, 0o700)).expect_err("not answered");
        let names = io.read_dir(&other).wait_until(guard()).expect("told").expect_err("not answered");
        for kind in [fuse::READ, fuse::WRITE, fuse::FSYNC] {
            fuse.freeze(kind);
        }
        let (read, exact) = (io.read_at(&file, vec![0; 10], 0), io.read_exact_at(&file, vec![0; 10], 1 << 17));
        let ranges = io.read_ranges(&file, vec![(2 << 17, vec![0; 10]), (3 << 17, vec![0; 10])]);
        let write = io.write_at(&file, [0; 10], 4 << 17);
        let (sync, data) = (io.fsync(&file), io.fdatasync(&file));
        let read = get(read).expect_err("not answered").without_buffer();
        let exact = get(exact).expect_err("not answered").without_buffer();
        let ranges = get(ranges).expect_err("not answered").without_buffer();
        let write = get(write).expect_err("not answered").without_buffer();
        let (sync, data) = (get(sync).expect_err("not answered"), get(data).expect_err("not answered"));
        let errors = [open, stat, many, change, names, read, exact, ranges, write, sync, data];
        let operations =
            ["open", "stat", "stat", "create_dir", "read_dir", "read", "read", "read", "write", "fsync", "fdatasync"];
        for (error, operation) in errors.iter().zip(operations) {
            assert!(error.is_timed_out() && error.operation() == operation, "{error}");
        }
        // Each range is a read of its own.
        let timed_out = io.metrics().timed_out();
        assert!((11..=12).contains(&timed_out), "{timed_out}");
        fuse.thaw();
        until("the operations end", || io.metrics().in_flight() == 0);
        help::end(&stop);
    }
}

/// A caller never opens a file on its own thread that could keep it, also if the name is cached.
#[test]
fn no_caller_hangs_in_an_open() {
    let Some(fuse) = mount("caller") else { return };
    let dir = Dir::new();
    let link = dir.0.join("link");
    std::os::unix::fs::symlink(fuse.object(), &link).expect("a link");
    for backend in backends() {
        let stop = Stop::new("test");
        let io = Io::builder(&stop).backend(backend).build().expect("a backend");
        // Warm, by either name.
        drop((get(io.open(fuse.object(), READ)).expect("opened"), get(io.open(&link, READ)).expect("opened")));
        fuse.freeze(fuse::OPEN);
        let io = Arc::new(io);
        let opener = thread::spawn({
            let (io, paths) = (Arc::clone(&io), [fuse.object(), link.clone()]);
            move || paths.map(|path| io.open(path, READ))
        });
        until("the caller is back, and the opens hang", || opener.is_finished() && fuse.held() == 2);
        fuse.thaw();
        for open in opener.join().expect("ended") {
            get(open).expect("opened");
        }
        assert_eq!(io.metrics().operation(Operation::Open).prompt(), 0);
        help::end(&stop);
    }
}

/// A file system in memory on this folder, for as long as the closure runs. `None` where this process may not mount.
fn with_memory<R>(dir: &Path, used: impl FnOnce() -> R) -> Option<R> {
    std::fs::create_dir_all(dir).expect("a folder");
    rustix::mount::mount("unwedge-test", dir, "tmpfs", rustix::mount::MountFlags::empty(), None).ok()?;
    let result = used();
    // A descriptor that was closed just now is in use for a moment more.
    until("nobody uses it", || rustix::mount::unmount(dir, rustix::mount::UnmountFlags::empty()).is_ok());
    Some(result)
}

/// The number that the kernel gives a mount, and to another one when that is gone.
fn mount_number(dir: &Path) -> u64 {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    statx(CWD, dir, AtFlags::empty(), StatxFlags::MNT_ID).expect("found").stx_mnt_id
}

/// Whether a caller opens anything on its own thread, which takes `openat2` (5.12, and no filter in the way), and the kernel tells the number of a mount that is
/// no other's (`STATX_MNT_ID_UNIQUE`, since 6.8): without that a table of mounts is believed for a second.
fn opens_by_the_mount() -> bool {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
    let unique = StatxFlags::from_bits_retain(0x4000);
    openat2(CWD, "/", OFlags::PATH, Mode::empty(), ResolveFlags::CACHED).is_ok()
        && statx(CWD, "/", AtFlags::empty(), unique).is_ok_and(|found| found.stx_mask & unique.bits() != 0)
}

/// What is mounted where a file system in memory was, and has its number, is asked by the backend alone.
#[test]
fn no_caller_takes_a_mount_for_the_one_before_it() {
    if !opens_by_the_mount() {
        return eprintln!("not tested: no caller opens anything here, or no mount is told from the one before it");
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hung-{}-reused", std::process::id()));
    for backend in backends() {
        let stop = Stop::new("test");
        let io = Io::builder(&stop).backend(backend).build().expect("a backend");
        let prompt = || io.metrics().operation(Operation::Open).prompt();
        // Others may mount something meanwhile, and get the number.
        for _ in 0..100 {
            let before = with_memory(&dir, || {
                until("it is known as local", || {
                    let opened = prompt();
                    drop(get(io.open(&dir, READ)).expect("opened"));
                    prompt() > opened
                });
                until("it is closed", || io.metrics().in_flight() == 0);
                // What was opened is closed without anybody's waiting for it.
                until("nobody uses it", || {
                    !std::fs::read_dir("/proc/self/fd").expect("there").any(|entry| {
                        entry.is_ok_and(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == dir))
                    })
                });
                mount_number(&dir)
            });
            let Some(fuse) = mount("reused") else { return };
            if before != Some(mount_number(&dir)) {
                continue;
            }
            let opened = prompt();
            fuse.freeze(fuse::OPENDIR);
            let io = io.clone();
            let opener = thread::spawn({
                let (io, dir) = (io.clone(), dir.clone());
                move || io.open(dir, READ)
            });
            until("the caller is back, and the open hangs", || opener.is_finished() && fuse.held() == 1);
            fuse.thaw();
            drop(get(opener.join().expect("ended")).expect("opened"));
            assert_eq!(io.metrics().operation(Operation::Open).prompt(), opened);
            break;
        }
        help::end(&stop);
    }
}
