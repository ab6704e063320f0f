//! What must hold on every backend.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{ErrorKind, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Plan, Stop, WaitError,
    io::{Backend, Io, IoBufMut, OpenOptions, Operation},
};

#[path = "dead.rs"]
mod dead;
#[path = "foreign.rs"]
mod foreign;
#[path = "help.rs"]
mod help;
#[path = "lingering.rs"]
mod lingering;
#[path = "operations.rs"]
mod operations;
#[path = "../common/signals.rs"]
mod signals;
#[path = "windows.rs"]
mod windows;

pub use dead::*;
pub use foreign::*;
pub use operations::*;
pub use windows::*;

use lingering::lingering;

use help::{Dir, GUARD, READ, block_on, end, get, guard, is_local, leaked, pattern, start, until};

pub fn reads_are_right(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let content = pattern(1 << 20);
    let path = dir.file("journal", &content);
    let io = start(backend, &stop);
    let file = get(io.open(&path, READ)).expect("opened");
    assert_eq!(file.path(), path);
    for round in 0..3 {
        let reads: Vec<_> = (0..256).map(|i| (i * 4096, io.read_at(&file, vec![0; 4096], i as u64 * 4096))).collect();
        for (offset, read) in reads {
            assert_eq!(get(read).expect("read"), content[offset..offset + 4096], "at {offset}, round {round}");
        }
        // So that the next round does not find all of it in the page cache.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    drop(file);
    end(&stop);
}

pub fn short_reads_are_cut_and_the_end_is_empty(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let path = dir.file("object", b"header");
    let io = start(backend, &stop);
    let file = get(io.open(&path, READ)).expect("opened");
    assert_eq!(get(io.read_at(&file, vec![7; 4096], 0)).expect("read"), b"header");
    assert_eq!(get(io.read_at(&file, vec![7; 3], 2)).expect("read"), b"ade");
    assert_eq!(get(io.read_at(&file, vec![7; 4096], 6)).expect("read"), b"");
    assert_eq!(get(io.read_at(&file, vec![7; 4096], 1 << 40)).expect("read"), b"");
    end(&stop);
}

/// A buffer that holds its bytes inline.
struct Inline {
    bytes: [u8; 64],
    used: usize,
}

impl IoBufMut for Inline {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.used]
    }

    fn cut(&mut self, len: usize) {
        self.used = len;
    }
}

pub fn boxes_and_own_buffers(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let path = dir.file("object", b"0123456789");
    let io = start(backend, &stop);
    let file = get(io.open(&path, READ)).expect("opened");
    let boxed = get(io.read_at(&file, vec![0; 32].into_boxed_slice(), 4)).expect("read");
    assert_eq!(*boxed, *b"456789");
    let inline = get(io.read_at(&file, Inline { bytes: [0; 64], used: 64 }, 1)).expect("read");
    assert_eq!(&inline.bytes[..inline.used], b"123456789");
    end(&stop);
}

pub fn writes_land_and_renames_replace(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let (old, new) = (dir.file("mds0_sessionmap", b"old"), dir.0.join("mds0_sessionmap.new"));
    let create = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600);
    let file = get(io.open(&new, create)).expect("created");
    let content = pattern(3 << 20);
    assert_eq!(get(io.write_at(&file, content.clone(), 0)).expect("written"), content);
    get(io.write_at(&file, "head", 0)).expect("written");
    get(io.write_at(&file, Vec::new(), 10)).expect("nothing written");
    get(io.fdatasync(&file)).expect("synced");
    get(io.fsync(&file)).expect("synced");
    get(io.rename(&new, &old)).expect("renamed");
    let found = fs::read(&old).expect("read");
    assert!(found[..4] == *b"head" && found[4..] == content[4..]);
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&old).expect("there").permissions()) & 0o777,
        0o600
    );
    assert_eq!(
        get(io.rename(&new, &old)).expect_err("gone").to_string().split(": ").next(),
        Some(&*format!("rename of {}", new.display()))
    );
    end(&stop);
}

pub fn errors_name_what_was_tried(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let missing = dir.0.join("200.00000000");
    let error = get(io.open(&missing, READ)).expect_err("missing");
    assert_eq!((error.kind(), error.operation(), error.path()), (ErrorKind::NotFound, "open", Some(&*missing)));
    assert_eq!(error.to_string(), format!("open of {}: No such file or directory (os error 2)", missing.display()));
    assert!(!error.is_closed() && !error.is_abandoned() && !error.is_timed_out() && !error.is_forked());
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
    assert_eq!(source.and_then(std::io::Error::raw_os_error), Some(libc::ENOENT));
    let create_new = OpenOptions::new().write(true).create_new(true);
    assert_eq!(get(io.open(dir.file("there", b"x"), create_new)).expect_err("there").kind(), ErrorKind::AlreadyExists);

    let folder = get(io.open(&dir.0, READ)).expect("opened");
    let error = get(io.read_at(&folder, vec![3; 16], 4096)).expect_err("a folder");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ISDIR.raw_os_error()));
    assert_eq!(error.to_string(), format!("read of {} at offset 4096: Is a directory (os error 21)", dir.0.display()));
    assert_eq!(error.into_buffer().map(|buffer| buffer.len()), Some(16), "the buffer comes back");

    // The kernel takes -1 for "where the file is": such an offset is refused and never handed down.
    let there = get(io.open(dir.0.join("there"), OpenOptions::new().read(true).write(true))).expect("opened");
    for offset in [u64::MAX, i64::MAX as u64] {
        let error = get(io.read_at(&there, vec![0; 1], offset)).expect_err("too far");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().ends_with("the offset is beyond the largest file"), "{error}");
        assert_eq!(get(io.write_at(&there, *b"y", offset)).expect_err("too far").kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(get(io.read_at(&there, vec![0; 8], 0)).expect("read"), b"x");

    let read_only = get(io.open(dir.file("read-only", b"x"), READ)).expect("opened");
    let error = get(io.write_at(&read_only, *b"abc", 0)).expect_err("read-only");
    assert_eq!((error.operation(), error.offset(), error.into_buffer()), ("write", Some(0), Some(*b"abc")));
    end(&stop);
}

pub fn senseless_requests_are_refused(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"x");
    let nul = OsStr::new("a\0b");
    assert_eq!(get(io.open(nul, READ)).expect_err("a NUL").kind(), ErrorKind::InvalidInput);
    assert_eq!(get(io.open(&path, OpenOptions::new())).expect_err("nothing").kind(), ErrorKind::InvalidInput);
    assert_eq!(get(io.open(&path, READ.truncate(true))).expect_err("destroys").kind(), ErrorKind::InvalidInput);
    assert_eq!(fs::read(&path).expect("there"), b"x");
    let file = get(io.open(&path, READ)).expect("opened");
    let error = get(io.read_at(&file, Vec::with_capacity(4096), 0)).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    end(&stop);
}

pub fn a_pipe_has_no_offsets(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let file = io.attach(ours, "client").expect("attached");
    let read = io.read_at(&file, vec![0; 16], 12345);
    theirs.write_all(b"hello").expect("written");
    assert_eq!(get(read).expect("read"), b"hello");
    get(io.write_at(&file, "reply", 777)).expect("written");
    let mut reply = [0; 5];
    std::io::Read::read_exact(&mut theirs, &mut reply).expect("read");
    assert_eq!(&reply, b"reply");
    drop(file);
    end(&stop);
}

pub fn a_stopped_domain_submits_nothing(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let file = get(io.open(&path, READ)).expect("opened");
    let mut begun_before = io.read_at(&file, vec![0; 7], 0);
    stop.request("test");
    assert_eq!(begun_before.wait_until(guard()).err(), Some(WaitError::Stopped), "even if the value is ready");
    assert_eq!(io.read_at(&file, vec![0; 7], 0).wait_until(guard()).err(), Some(WaitError::Stopped));
    assert_eq!(io.write_at(&file, *b"x", 0).wait_until(guard()).err(), Some(WaitError::Stopped));
    assert_eq!(io.fsync(&file).wait_until(guard()).err(), Some(WaitError::Stopped));
    let created = dir.0.join("created");
    let create = OpenOptions::new().write(true).create(true);
    assert_eq!(io.open(&created, create).wait_until(guard()).err(), Some(WaitError::Stopped));
    assert_eq!(io.rename(&path, &created).wait_until(guard()).err(), Some(WaitError::Stopped));
    let ran = Arc::new(AtomicUsize::new(0));
    let runs = Arc::clone(&ran);
    assert_eq!(
        io.run_blocking("job", move || runs.fetch_add(1, Relaxed)).wait_until(guard()).err(),
        Some(WaitError::Stopped)
    );
    end(&stop);
    assert!(!created.exists());
    assert_eq!(ran.load(Relaxed), 0);
}

pub fn a_phase_goes_on_after_the_request(backend: Backend) {
    let (stop, phase, dir) = (Stop::new("test"), Stop::new("phase"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let file = get(io.open(&path, READ)).expect("opened");
    stop.request("test");
    let saving = io.with(&phase);
    assert_eq!(get(saving.read_at(&file, vec![0; 7], 0)).expect("read"), b"content");
    assert_eq!(get(saving.run_blocking("job", || 42)), Ok(42));
    end(&stop);
    // The service is closed now: an error, and no hang.
    let error = get(saving.open(&path, READ)).expect_err("closed");
    assert!(error.is_closed(), "{error}");
    let error = get(saving.fsync(&file)).expect_err("closed");
    assert_eq!(error.to_string(), format!("fsync of {}: the I/O service has been shut down", path.display()));
    assert!(get(saving.run_blocking("job", || 42)).is_err());
}

pub fn a_stuck_read_lets_its_waiter_go(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let (uring, fifo) = (io.backend() == "uring", dir.fifo());
    let file = get(io.open(&fifo, OpenOptions::new().read(true).write(true))).expect("opened");
    let waiter = thread::spawn({
        let (io, file) = (io.clone(), file.clone());
        move || io.read_at(&file, vec![0; 4096], 0).wait_until(guard()).err()
    });
    let timed_out = io.read_at(&file, vec![0; 100], 0).wait_until(Instant::now() + Duration::from_millis(20));
    assert_eq!(timed_out.err(), Some(WaitError::TimedOut));
    stop.request("test");
    assert_eq!(waiter.join().ok().flatten(), Some(WaitError::Stopped));
    drop(file);
    let report = stop.shutdown(Plan::within(Duration::from_millis(100)));
    let leaked = leaked(&report);
    if uring {
        assert!(report.is_clean(), "a read of a pipe can be cancelled: {report}");
    } else {
        // Two threads sit in the kernel, or one if the second read had not been begun.
        assert!(leaked.0 == leaked.2 && (1..=2).contains(&leaked.0) && leaked.1 >= 100, "{report}");
        assert!(!report.is_clean());
    }
    let told = io.metrics();
    assert_eq!((told.leaked_operations(), told.leaked_bytes(), told.leaked_threads()), leaked);
    // Lets the threads of the pool go.
    fs::OpenOptions::new().write(true).read(true).open(&fifo).expect("opened").write_all(&[0; 8192]).expect("written");
}

/// A pipe whose writer is late: the waits end at the stop, and the shutdown is over when it has written; what a wait that was stopped left behind is no leak.
pub fn late_answers_end_a_shutdown(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let fifo = dir.fifo();
    let file = get(io.open(&fifo, OpenOptions::new().read(true).write(true))).expect("opened");
    let mut writer = fs::OpenOptions::new().write(true).read(true).open(&fifo).expect("opened");
    let mut late = io.read_at(&file, vec![0; 4], 0);
    assert!(late.wait_until(Instant::now() + Duration::from_millis(5)).is_err_and(|error| error.is_timed_out()));
    writer.write_all(b"late").expect("written");
    assert_eq!(get(late).expect("read"), b"late");

    let mut waits: Vec<_> = (0..4).map(|_| io.read_at(&file, vec![0; 4], 0)).collect();
    stop.request("test");
    for wait in &mut waits {
        assert_eq!(wait.wait_until(guard()).err(), Some(WaitError::Stopped));
    }
    drop((waits, file));
    let closing = stop.clone();
    let shutdown = thread::spawn(move || closing.shutdown(Plan::within(GUARD)));
    writer.write_all(&[0; 16]).expect("written");
    let report = shutdown.join().expect("ended");
    assert!(report.is_clean() && leaked(&report) == (0, 0, 0), "{report}");
}

pub fn dropped_opens_close_their_file(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("opened-and-forgotten", b"x");
    for _ in 0..200 {
        drop(io.open(&path, READ));
    }
    // One that is waited for comes after all of them on the ring; on the pool the shutdown waits for them.
    drop(get(io.open(&path, READ)).expect("opened"));
    end(&stop);
    assert_eq!(descriptors_of(&path), 0);
}

/// How many threads of this process belong to an [`Io`] of this name.
fn threads_called(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("proc").filter_map(Result::ok);
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|comm| comm.starts_with(&format!("uw-{name}-"))).count()
}

/// How many descriptors of this process are of that file.
fn descriptors_of(path: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("proc").filter_map(Result::ok);
    open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == path)).count()
}

pub fn submitters_may_end_at_once(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let content = pattern(64 * 4096);
    let path = dir.file("object", &content);
    let io = start(backend, &stop);
    let file = get(io.open(&path, READ)).expect("opened");
    for _ in 0..10 {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        let submitter = thread::spawn({
            let (io, file) = (io.clone(), file.clone());
            move || (0..64).rev().map(|i| (i, io.read_at(&file, vec![0; 4096], i * 4096))).collect::<Vec<_>>()
        });
        for (i, read) in submitter.join().expect("submitted") {
            let at = i as usize * 4096;
            assert_eq!(get(read).expect("read"), content[at..at + 4096]);
        }
    }
    end(&stop);
}

pub fn two_of_them_do_not_meet(backend: Backend) {
    let (first, second, dir) = (Stop::new("first"), Stop::new("second"), Dir::new());
    let path = dir.file("object", b"content");
    let (a, b) = (start(backend, &first), start(backend, &second));
    let (file_a, file_b) = (get(a.open(&path, READ)).expect("opened"), get(b.open(&path, READ)).expect("opened"));
    end(&first);
    assert_eq!(get(b.read_at(&file_b, vec![0; 7], 0)).expect("read"), b"content");
    // A file of one may be read by the other, as long as either lives.
    assert_eq!(get(b.read_at(&file_a, vec![0; 9], 0)).expect("read"), b"content");
    end(&second);
}

pub fn an_io_that_is_dropped_ends_its_threads(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let path = dir.file("object", b"content");
    // Of its own, because tests run side by side.
    let name = format!("gone-{}", usize::from(backend == Backend::Pool));
    let never = Duration::from_secs(3600);
    let io = Io::builder(&stop).backend(backend).name(&name).deadline(never).build().expect("a backend");
    let file = get(io.open(&path, READ)).expect("opened");
    let read = io.read_at(&file, vec![0; 4096], 0);
    get(io.run_blocking("job", || ())).expect("run");
    assert!(threads_called(&name) > 0);
    drop(io);
    // What was begun is still done, and the file is still good.
    assert_eq!(get(read).expect("read"), b"content");
    drop(file);
    until("its threads have ended, without a shutdown", || threads_called(&name) == 0);
    end(&stop);
    let until = guard();
    while descriptors_of(&path) > 0 {
        assert!(Instant::now() < until, "the file is closed");
        thread::yield_now();
    }
}

pub fn files_outlive_the_shutdown(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let path = dir.file("object", b"content");
    let io = start(backend, &stop);
    let file = get(io.open(&path, READ)).expect("opened");
    end(&stop);
    drop(io);
    assert_eq!(descriptors_of(&path), 1);
    drop(file);
    let until = guard();
    while descriptors_of(&path) > 0 {
        assert!(Instant::now() < until, "the file is closed");
        thread::yield_now();
    }
}

/// Who drops the last handle of a file does not wait for its close, before the shutdown or after it.
pub fn a_close_that_blocks_holds_up_nobody(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let [before, after] = [(), ()].map(|()| {
        let (socket, peer) = lingering();
        (io.attach(socket, "dead").expect("attached"), peer)
    });
    let goes_on = |(file, peer)| {
        let (done, dropped) = mpsc::channel();
        thread::spawn(move || {
            drop::<unwedge::io::File>(file);
            done.send(())
        });
        assert_eq!(dropped.recv_timeout(GUARD), Ok(()));
        drop::<std::net::TcpStream>(peer);
    };
    goes_on(before);
    end(&stop);
    goes_on(after);
}

/// A buffer for direct I/O, whose memory goes to a graveyard when it is given back: whatever is written there afterwards is seen.
struct Mourned {
    bytes: Vec<u8>,
    start: usize,
    graveyard: Arc<Mutex<Vec<Vec<u8>>>>,
}

const ALIGN: usize = 4096;
/// Large enough that a fast device, too, still works on 128 of them when the shutdown's time is up.
const SIZE: usize = 1 << 16;
const BURIED: u8 = 0xa5;

impl Mourned {
    fn new(graveyard: &Arc<Mutex<Vec<Vec<u8>>>>) -> Self {
        let bytes = vec![0; SIZE + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        Mourned { bytes, start, graveyard: Arc::clone(graveyard) }
    }
}

impl IoBufMut for Mourned {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + SIZE]
    }

    fn cut(&mut self, len: usize) {
        assert_eq!(len, SIZE);
    }
}

impl Drop for Mourned {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.fill(BURIED);
        self.graveyard.lock().expect("graveyard").push(bytes);
    }
}

pub fn direct_reads_keep_their_memory(backend: Backend) {
    const READS: usize = 128;
    const LIVES: usize = 6;
    const ROUNDS: usize = 4;
    let dir = Dir::new();
    let path = dir.file("object", &vec![0x5a; READS * SIZE]);
    fs::File::open(&path).and_then(|file| file.sync_all()).expect("synced");
    for _ in 0..ROUNDS {
        let graveyard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        for life in 0..LIVES {
            let stop = Stop::new("test");
            let io = start(backend, &stop);
            let file = match get(io.open(&path, READ.direct(true))) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    return eprintln!("no direct I/O here: {error}");
                }
                Err(error) => panic!("{error}"),
            };
            let read = |i| io.read_at(&file, Mourned::new(&graveyard), (i * SIZE) as u64);
            let mut reads: Vec<_> = (0..READS).map(read).collect();
            match life % 3 {
                // All dropped; shut down with everything in flight; a part done.
                0 => reads.clear(),
                1 => {}
                _ => {
                    let read = get(reads.swap_remove(life)).unwrap_or_else(|error| panic!("{error}"));
                    assert!(read.bytes[read.start..read.start + SIZE].iter().all(|&byte| byte == 0x5a));
                }
            }
            drop((io, file));
            let _ = stop.shutdown(Plan::within(Duration::ZERO));
        }
        // Every buffer is given back in the end, also those that the shutdown left with the kernel.
        let (until, buried) = (guard(), || graveyard.lock().expect("graveyard").len());
        while buried() < LIVES * READS {
            assert!(Instant::now() < until, "{} of {} buffers came back", buried(), LIVES * READS);
            thread::sleep(Duration::from_millis(1));
        }
        // A device that still wrote would have done so by now.
        thread::sleep(Duration::from_millis(50));
        let pages = graveyard.lock().expect("graveyard");
        let written = pages.iter().filter(|page| page.iter().any(|&byte| byte != BURIED)).count();
        assert_eq!(written, 0, "buffers that were written to after they were given back");
    }
}

pub fn more_than_the_depth(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let content = pattern(1000 * 16);
    let path = dir.file("object", &content);
    let io = Io::builder(&stop).backend(backend).depth(3).threads(2).build().expect("a backend");
    // No page cache on the caller's thread: a socket's file would do as well, but this reads right.
    let file = get(io.open(&path, READ)).expect("opened");
    let opens: Vec<_> = (0..100).map(|_| io.open(&path, READ)).collect();
    let reads: Vec<_> = (0..1000).map(|i| (i, io.read_at(&file, vec![0; 16], i as u64 * 16))).collect();
    for (i, read) in reads {
        assert_eq!(get(read).expect("read"), content[i * 16..i * 16 + 16]);
    }
    for open in opens {
        get(open).expect("opened");
    }
    drop(file);
    end(&stop);
}

pub fn unwanted_reads_make_room(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = Io::builder(&stop).backend(backend).depth(4).threads(2).build().expect("a backend");
    let path = dir.file("object", b"content");
    let file = get(io.open(&path, READ)).expect("opened");
    let fifo = dir.fifo();
    let stuck = get(io.open(&fifo, OpenOptions::new().read(true).write(true))).expect("opened");
    // More than there are permits and threads, all given up at once or a little later.
    let given_up: Vec<_> = (0..6).map(|_| io.read_at(&stuck, vec![0; 16], 0)).collect();
    // On the same file system, and nothing that is done without a permit.
    let (next, read) = (io.fsync(&file), io.read_at(&file, vec![0; 8], 0));
    drop(given_up);
    get(next).expect("synced");
    assert_eq!(get(read).expect("read"), b"content");
    // Lets the threads of the pool go.
    get(io.write_at(&stuck, vec![0; 4096], 0)).expect("written");
    drop((file, stuck));
    end(&stop);
}

/// Says in its drop on which thread that is.
struct Told(Arc<Mutex<Vec<String>>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.lock().expect("no panic").push(thread::current().name().unwrap_or_default().to_owned());
    }
}

/// What waits for a share that will never be free, and that nobody waits for any more, is let go of: by the pool, whose threads run whatever a drop does.
pub fn unwanted_jobs_are_let_go_of(backend: Backend) {
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(backend).threads(2).build().expect("a backend");
    let begun = Arc::new(AtomicUsize::new(0));
    let (stuck, go): (Vec<_>, Vec<_>) = (0..64)
        .map(|_| {
            let (go, gone) = mpsc::channel::<()>();
            let begun = Arc::clone(&begun);
            let job = move || {
                begun.fetch_add(1, Relaxed);
                gone.recv().is_ok()
            };
            (io.run_blocking("stuck", job), go)
        })
        .unzip();
    until("their share is taken", || begun.load(Relaxed) == 64);
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let mut aside: Vec<_> = (0..100)
        .map(|_| {
            let told = Told(Arc::clone(&dropped));
            io.run_blocking("aside", move || drop(told))
        })
        .collect();
    drop(aside.split_off(50));
    until("they are let go of", || dropped.lock().expect("no panic").len() == 50);
    stop.request("test");
    assert!(aside.iter_mut().all(|job| job.wait().is_err()));
    drop(aside);
    until("these too", || dropped.lock().expect("no panic").len() == 100);
    let names = std::mem::take(&mut *dropped.lock().expect("no panic"));
    assert!(names.iter().all(|name| is_of_the_pool(name)), "{names:?}");
    drop((go, stuck));
    end(&stop);
}

/// A buffer that counts its drop, which may panic.
struct Counted {
    byte: [u8; 1],
    dropped: Arc<AtomicUsize>,
    panics: bool,
}

impl IoBufMut for Counted {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.byte
    }

    fn cut(&mut self, _: usize) {}
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Relaxed);
        assert!(!self.panics, "a drop that panics");
    }
}

/// Reads that wait for a file which does not answer, and that nobody waits for any more: their buffers are let go of, and one whose drop panics harms nobody.
pub fn unwanted_reads_are_let_go_of(backend: Backend) {
    const HUNG: usize = 100;
    const UNWANTED: usize = 50;
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(backend).depth(4).threads(2).build().expect("a backend");
    let (mut writer, reader) = UnixStream::pair().expect("a pair of sockets");
    let dead = io.attach(reader, "dead").expect("an open file");
    let hung: Vec<_> = (0..HUNG).map(|_| io.read_at(&dead, vec![0; 1], 0)).collect();
    let dropped = Arc::new(AtomicUsize::new(0));
    for number in 0..UNWANTED {
        let buffer = Counted { byte: [0], dropped: Arc::clone(&dropped), panics: number == 7 };
        drop(io.read_at(&dead, buffer, 0));
    }
    until("they are let go of", || dropped.load(Relaxed) == UNWANTED);
    assert!(hung.iter().all(|read| !read.is_complete()), "nothing was sent");
    writer.write_all(&[7; HUNG]).expect("sent");
    for read in hung {
        assert_eq!(get(read).expect("read"), [7]);
    }
    drop(dead);
    end(&stop);
}

/// A path that a thread of the pool may not have before its gate is open.
struct Gated {
    path: PathBuf,
    gate: Option<Arc<RwLock<()>>>,
    /// How many came to a gate.
    came: Arc<AtomicUsize>,
    _told: Told,
}

impl AsRef<Path> for Gated {
    fn as_ref(&self) -> &Path {
        if let Some(gate) = self.gate.as_ref().filter(|_| thread::current().name().is_some_and(is_of_the_pool)) {
            self.came.fetch_add(1, Relaxed);
            drop(gate.read());
        }
        &self.path
    }
}

fn is_of_the_pool(name: &str) -> bool {
    name.starts_with("uw-pool-")
}

/// When the service is closed a job that is stuck keeps what it has in hand, and no more of its list.
pub fn a_stuck_job_keeps_its_share_of_a_list_alone(backend: Backend) {
    const BATCH: usize = 64;
    const BATCHES: usize = 40;
    if thread::available_parallelism().map_or(1, usize::from) == 1 {
        eprintln!("not tested: on one processor a list has one job");
        return;
    }
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let (stuck, slow) = (Arc::new(RwLock::new(())), Arc::new(RwLock::new(())));
    let (shut, held_up) = (stuck.write().expect("no panic"), slow.write().expect("no panic"));
    let (came, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let paths = (0..BATCHES * BATCH).map(|at| Gated {
        path: path.clone(),
        gate: (at % BATCH == 0).then(|| Arc::clone(if at == 0 { &stuck } else { &slow })),
        came: Arc::clone(&came),
        _told: Told(Arc::clone(&dropped)),
    });
    let list = io.stat_many(paths.collect::<Vec<_>>());
    until("two jobs at least are in it", || came.load(Relaxed) >= 2);
    let report = stop.shutdown(Plan::within(Duration::from_millis(20)));
    assert!(report.leaked_threads() >= 2, "{report}");
    drop(list);
    drop(held_up);
    let count = || dropped.lock().expect("no panic").len();
    until("the others have given it back", || count() == (BATCHES - 1) * BATCH);
    assert!(dropped.lock().expect("no panic").iter().all(|name| is_of_the_pool(name)));
    drop(shut);
    until("the stuck one has", || count() == BATCHES * BATCH);
    assert!(came.load(Relaxed) <= MOST_JOBS, "nobody is asked for the names of what is dropped");
}

/// What a list has left when the service is closed says so to who still waits for it; what was looked at is told.
pub fn what_is_left_of_a_list_is_refused(backend: Backend) {
    const BATCH: usize = 64;
    const BATCHES: usize = 40;
    let (stop, phase, dir) = (Stop::new("test"), Stop::new("phase"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let gate = Arc::new(RwLock::new(()));
    let held_up = gate.write().expect("no panic");
    let (came, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let paths = (0..BATCHES * BATCH).map(|at| Gated {
        path: path.clone(),
        gate: (at % BATCH == 0).then(|| Arc::clone(&gate)),
        came: Arc::clone(&came),
        _told: Told(Arc::clone(&dropped)),
    });
    let list = io.with(&phase).stat_many(paths.collect::<Vec<_>>());
    until("it is begun", || came.load(Relaxed) > 0);
    drop(stop.shutdown(Plan::within(Duration::ZERO)));
    drop(held_up);
    let found = get(list).expect("an answer for each");
    let looked_at = found.iter().filter(|answer| answer.as_ref().is_ok_and(|found| found.len() == 7)).count();
    let refused = found.iter().filter(|answer| answer.as_ref().is_err_and(|error| error.is_closed())).count();
    assert!(looked_at > 0 && looked_at <= MOST_JOBS * BATCH, "{looked_at}");
    assert_eq!(looked_at + refused, BATCHES * BATCH);
    until("all is given back", || dropped.lock().expect("no panic").len() == BATCHES * BATCH);
}

/// As many jobs as a list has at most.
const MOST_JOBS: usize = 16;

/// A list has a job for each processor where looks ask nobody, and as many as it may have where they may wait.
pub fn a_list_has_a_job_for_each_processor(backend: Backend) {
    const BATCH: usize = 64;
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let processors = thread::available_parallelism().map_or(1, usize::from).min(MOST_JOBS);
    let here = dir.file("object", b"content");
    let lists = [(is_local(&here).then_some(here), processors), (Some("/proc/self/status".into()), MOST_JOBS)];
    for (path, jobs) in lists {
        let Some(path) = path else { continue };
        let gate = Arc::new(RwLock::new(()));
        let held_up = gate.write().expect("no panic");
        let (came, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let paths = (0..20 * BATCH).map(|at| Gated {
            path: path.clone(),
            gate: (at % BATCH == 0).then(|| Arc::clone(&gate)),
            came: Arc::clone(&came),
            _told: Told(Arc::clone(&dropped)),
        });
        let list = io.stat_many(paths.collect::<Vec<_>>());
        until("its jobs are in it", || came.load(Relaxed) >= jobs);
        // One more would come soon.
        thread::sleep(Duration::from_millis(50));
        assert_eq!(came.load(Relaxed), jobs, "{}", path.display());
        drop(held_up);
        assert!(get(list).expect("an answer for each").iter().all(Result::is_ok));
    }
    end(&stop);
}

/// A path that has the caller of the list wait until those before it were looked at.
struct Slow {
    path: PathBuf,
    caller: thread::ThreadId,
    before: usize,
    looked_at: Arc<AtomicUsize>,
}

impl AsRef<Path> for Slow {
    fn as_ref(&self) -> &Path {
        if thread::current().id() != self.caller {
            self.looked_at.fetch_add(1, Relaxed);
        } else if self.before % 64 == 0 {
            until("those before it were looked at", || self.looked_at.load(Relaxed) >= self.before);
            // The job that has looked at them finds nothing more.
            thread::sleep(Duration::from_millis(2));
        }
        &self.path
    }
}

/// A list that grows more slowly than it is looked at: jobs find nothing and end, and there is a new one for what comes.
pub fn a_list_that_comes_slowly_is_looked_at(backend: Backend) {
    const PATHS: usize = 40 * 64;
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let (caller, looked_at) = (thread::current().id(), Arc::new(AtomicUsize::new(0)));
    let paths = (0..PATHS).map(|before| Slow { path: path.clone(), caller, before, looked_at: Arc::clone(&looked_at) });
    let found = get(io.stat_many(paths.collect::<Vec<_>>())).expect("an answer for each");
    assert!(found.len() == PATHS && found.iter().all(Result::is_ok));
    end(&stop);
}

/// A list of which no job was begun, because its file system does not answer, is let go of when nobody waits for it; else by the shutdown, each part by itself, so
/// that what panics there harms nobody else.
pub fn a_list_that_was_not_begun_is_let_go_of(backend: Backend) {
    const SHARE: usize = 64;
    struct Treacherous(Arc<AtomicUsize>);
    impl AsRef<Path> for Treacherous {
        fn as_ref(&self) -> &Path {
            assert_eq!(self.0.load(Relaxed), 0, "a path that panics");
            Path::new("/proc/self/status")
        }
    }
    let (stop, phase) = (Stop::new("test"), Stop::new("phase"));
    let io = start(backend, &stop);
    let gate = Arc::new(RwLock::new(()));
    let held_up = gate.write().expect("no panic");
    let (came, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let hung = [(); SHARE / MOST_JOBS].map(|()| {
        let paths = (0..MOST_JOBS * 64).map(|at| Gated {
            path: "/proc/self/status".into(),
            gate: (at % 64 == 0).then(|| Arc::clone(&gate)),
            came: Arc::clone(&came),
            _told: Told(Arc::clone(&dropped)),
        });
        io.stat_many(paths.collect::<Vec<_>>())
    });
    until("the share is taken", || came.load(Relaxed) == SHARE);
    let closed = Arc::new(AtomicUsize::new(0));
    let list = io.with(&phase).stat_many((0..200).map(|_| Treacherous(Arc::clone(&closed))).collect::<Vec<_>>());
    // Nobody waits for one more: it is let go of, and no other.
    let let_go = Arc::new(Mutex::new(Vec::new()));
    let unwanted = (0..200).map(|_| Gated {
        path: "/proc/self/status".into(),
        gate: None,
        came: Arc::clone(&came),
        _told: Told(Arc::clone(&let_go)),
    });
    drop(io.stat_many(unwanted.collect::<Vec<_>>()));
    until("it is let go of", || let_go.lock().expect("no panic").len() == 200);
    assert!(!list.is_complete());
    closed.store(1, Relaxed);
    drop(stop.shutdown(Plan::within(Duration::ZERO)));
    assert!(get(list).expect_err("nobody could say").is_abandoned());
    drop((held_up, hung));
    until("the others have ended", || io.metrics().in_flight() == 0);
}

/// A buffer that panics where it is told to.
struct Treacherous {
    bytes: [u8; 8],
    asked: AtomicUsize,
    at_question: usize,
    at_cut: bool,
}

impl IoBufMut for Treacherous {
    fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.asked.fetch_add(1, Relaxed) != self.at_question, "a buffer that panics");
        &mut self.bytes
    }

    fn cut(&mut self, _: usize) {
        assert!(!self.at_cut, "a buffer that panics");
    }
}

pub fn a_panicking_buffer_harms_nobody_else(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let file = get(io.open(&path, READ)).expect("opened");
    for at_cut in [false, true] {
        // It is asked once by `read_at` itself, on this thread.
        let buffer =
            Treacherous { bytes: [0; 8], asked: AtomicUsize::new(0), at_question: if at_cut { 9 } else { 1 }, at_cut };
        let Err(error) = get(io.read_at(&file, buffer, 0)) else { panic!("a panic is no result") };
        assert!(error.is_abandoned(), "{error}");
        assert_eq!(get(io.read_at(&file, vec![0; 8], 0)).expect("read"), b"content");
    }
    end(&stop);
}

pub fn jobs_run_and_their_panics_are_theirs(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let asked = path.clone();
    assert_eq!(get(io.run_blocking("stat", move || fs::metadata(asked).map(|m| m.len()).ok())), Ok(Some(7)));
    assert!(get(io.run_blocking("panic", || panic!("a job that panics"))).is_err() || unreachable!());
    let metrics = io.metrics();
    assert_eq!((metrics.operation(Operation::Job).failed(), metrics.in_flight()), (1, 0));
    let threads: HashSet<_> =
        (0..50).map(|_| io.run_blocking("name", || thread::current().name().map(str::to_owned))).map(get).collect();
    assert!(
        threads.iter().all(|name| matches!(name, Ok(Some(name)) if name.starts_with("uw-pool-") && name.len() <= 15))
    );
    end(&stop);
}

pub fn threads_have_names_and_run_the_hook(backend: Backend) {
    let threads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&threads);
    let hook = move |name: &str| {
        let status = fs::read_to_string("/proc/thread-self/status").expect("a status");
        let of = |field| status.lines().find_map(|line| line.strip_prefix(field)).expect("a field").trim().to_owned();
        seen.lock().expect("threads").push((name.to_owned(), of("Name:"), of("SigBlk:")));
    };
    let stop = Stop::builder("test").on_thread_start(hook).build();
    let io = Io::builder(&stop).backend(backend).deadline(Duration::from_secs(3600)).build().expect("a backend");
    get(io.run_blocking("job", || ())).expect("run");
    let uring = io.backend() == "uring";
    until("the last of them runs", || threads.lock().expect("threads").iter().any(|(name, ..)| name == "uw-time"));
    end(&stop);
    let mut threads = threads.lock().expect("threads").clone();
    // Without io_uring that thread was there to try.
    threads.retain(|(name, ..)| uring || name != "uw-ring");
    threads.sort_unstable();
    let names: Vec<_> = threads.iter().map(|(name, ..)| &**name).collect();
    assert_eq!(names, if uring { vec!["uw-pool-1", "uw-ring", "uw-time"] } else { vec!["uw-pool-1", "uw-time"] });
    for (name, comm, blocked) in &threads {
        assert_eq!(name, comm, "it runs on the thread that it is told of");
        assert!(signals::is_blocked_as_it_should(blocked), "{name}: {blocked}");
    }
}

/// A task's wait, without a runtime.
pub fn a_task_may_wait(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let content = block_on(async {
        let file = io.open(&path, READ).await.expect("not stopped").expect("opened");
        io.read_at(&file, vec![0; 100], 0).await.expect("not stopped").expect("read")
    });
    assert_eq!(content, b"content");
    end(&stop);
}
