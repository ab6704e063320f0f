//! What each operation does where nothing hangs, on every backend.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::ErrorKind,
    os::unix::fs::{DirEntryExt, MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use unwedge::{
    Monitor, Plan, Stop,
    io::{Backend, FileKind, Io, IoBufMut, IoError, OpenOptions, Operation, Resolve, Timestamp},
};

use super::help::{self, Dir, READ, block_on, end, get, guard, is_local, pattern, start, until};

/// Where the kernel refuses `openat2`, an open that asks for a confinement says so; elsewhere the result.
fn confined<T>(result: Result<T, IoError>) -> Option<Result<T, IoError>> {
    match result {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            assert!(error.to_string().contains("openat2 is refused here"), "{error}");
            let root = rustix::fs::openat2(
                rustix::fs::CWD,
                "/",
                rustix::fs::OFlags::PATH,
                rustix::fs::Mode::empty(),
                rustix::fs::ResolveFlags::empty(),
            );
            assert!(root.is_err(), "it is not refused");
            None
        }
        result => Some(result),
    }
}

pub fn opens_are_confined_as_asked(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    dir.file("object", b"content");
    fs::create_dir(dir.0.join("inner")).expect("a folder");
    symlink("object", dir.0.join("link")).expect("a link");
    symlink("/", dir.0.join("inner/root")).expect("a link");
    let folder = get(io.open(&dir.0, READ.directory(true))).expect("opened");
    let inner = get(io.open_in(&folder, "inner", READ.directory(true))).expect("opened");
    assert_eq!(inner.path(), dir.0.join("inner"));

    let file = get(io.open_in(&inner, "../link", READ)).expect("not confined");
    assert_eq!(get(io.read_at(&file, vec![0; 9], 0)).expect("read"), b"content");
    let number = |result: Result<_, IoError>| result.map(drop).map_err(|error| error.raw_os_error());
    let resolve = |resolve| READ.resolve(resolve);
    let cases = [
        (&folder, "object", Resolve::new().beneath(true), Ok(())),
        (&inner, "../object", Resolve::new().beneath(true), Err(Some(libc::EXDEV))),
        (&inner, "root", Resolve::new().beneath(true), Err(Some(libc::EXDEV))),
        (&folder, "link", Resolve::new().no_symlinks(true), Err(Some(libc::ELOOP))),
        (&folder, "object", Resolve::new().no_symlinks(true).no_magiclinks(true), Ok(())),
        (&inner, "../../../object", Resolve::new().in_root(true), Err(Some(libc::ENOENT))),
        (&folder, "../../../object", Resolve::new().in_root(true), Ok(())),
        (&folder, "/object", Resolve::new().in_root(true), Ok(())),
        (&folder, "/proc/self/status", Resolve::new().no_xdev(true), Err(Some(libc::EXDEV))),
        (&folder, "object", Resolve::new().cached(true), Ok(())),
    ];
    for (from, path, how, expected) in cases {
        let Some(result) = confined(get(io.open_in(from, path, resolve(how)))) else { continue };
        assert_eq!(number(result), expected, "{path}, {how:?}");
    }
    let error = get(io.open_in(&inner, "nothing", READ)).expect_err("missing");
    assert_eq!(error.path(), Some(&*dir.0.join("inner/nothing")), "{error}");
    let both = resolve(Resolve::new().beneath(true).in_root(true));
    assert_eq!(get(io.open_in(&inner, "x", both)).expect_err("senseless").kind(), ErrorKind::InvalidInput);
    let error = get(io.open(dir.0.join("object"), READ.directory(true))).expect_err("no folder");
    assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    let error = get(io.open(dir.0.join("link"), READ.no_follow(true))).expect_err("a link");
    assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    drop((file, folder, inner));
    end(&stop);
}

/// What the caller opens at once is no other file than the backend would open.
pub fn cached_opens_are_as_good(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let fifo = dir.fifo();
    for _ in 0..3 {
        let file = get(io.open(&path, READ.write(true))).expect("opened");
        let flags = rustix::fs::fcntl_getfl(&file).expect("flags");
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK) && flags.contains(rustix::fs::OFlags::RDWR));
        let inherited = rustix::io::fcntl_getfd(&file).expect("flags");
        assert!(inherited.contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(get(io.write_at(&file, *b"CON", 0)).expect("written"), *b"CON");
        assert_eq!(get(io.read_at(&file, vec![0; 9], 0)).expect("read"), b"CONtent");
    }
    // A FIFO without a writer: its open waits, and not on this thread.
    let mut waits = io.open(&fifo, READ);
    assert!(waits.wait_until(Instant::now() + Duration::from_millis(10)).is_err());
    let writer = fs::OpenOptions::new().write(true).open(&fifo).expect("a reader is there");
    drop(get(waits).expect("opened"));
    drop(writer);
    let prompt = io.metrics().operation(Operation::Open).prompt();
    assert!(prompt <= 3, "{prompt}");
    end(&stop);
}

pub fn exact_reads_are_whole_or_say_where_the_file_ends(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let content = pattern(100_000);
    let path = dir.file("object", &content);
    for options in [READ, READ.direct(true)] {
        let file = match get(io.open(&path, options)) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                eprintln!("no direct I/O here: {error}");
                continue;
            }
            file => file.expect("opened"),
        };
        let direct = options != READ;
        let whole = get(io.read_exact_at(&file, aligned(8192), 4096)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(whole.bytes(), &content[4096..4096 + 8192]);
        for offset in [98_304, 98_816 - 512 * 2] {
            let Err(error) = get(io.read_exact_at(&file, aligned(8192), offset)) else { panic!("it is not there") };
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}, direct: {direct}");
            let left = content.len() as u64 - offset;
            assert_eq!(
                error.to_string(),
                format!("read of {} at offset {offset}: the file ends after {left} of 8192 bytes", path.display())
            );
            assert_eq!(error.into_buffer().map(|buffer| buffer.len), Some(8192), "uncut");
        }
        let Err(error) = get(io.read_exact_at(&file, aligned(512), 1 << 30)) else { panic!("it is not there") };
        assert!(error.to_string().ends_with("the file ends after 0 of 512 bytes"), "{error}");
    }
    // A pipe gives what there is; an exact read goes on.
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let file = io.attach(ours, "client").expect("attached");
    let read = io.read_exact_at(&file, vec![0; 10], 0);
    for part in [&b"01234"[..], b"567", b"89"] {
        std::io::Write::write_all(&mut theirs, part).expect("written");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(get(read).expect("read"), b"0123456789");
    drop(theirs);
    assert_eq!(get(io.read_exact_at(&file, vec![0; 3], 0)).expect_err("closed").kind(), ErrorKind::UnexpectedEof);
    drop(file);
    end(&stop);
}

/// A buffer at an address that direct I/O takes.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

fn aligned(len: usize) -> Aligned {
    let bytes = vec![0; len + 4096];
    let start = bytes.as_ptr().align_offset(4096);
    Aligned { bytes, start, len }
}

impl Aligned {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl IoBufMut for Aligned {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    fn cut(&mut self, len: usize) {
        self.len = len;
    }
}

pub fn many_ranges_are_one_completion(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let content = pattern(1 << 20);
    let path = dir.file("object", &content);
    let file = get(io.open(&path, READ)).expect("opened");
    for round in 0..3 {
        let places: Vec<usize> = (0..300).map(|i| (i * 7919 + round) % (1 << 20)).collect();
        let ranges = places.iter().map(|at| (*at as u64, vec![0; 100 + at % 50])).collect();
        let parts = get(io.read_ranges(&file, ranges)).expect("read");
        for (at, part) in places.iter().zip(parts) {
            let end = (at + 100 + at % 50).min(content.len());
            assert_eq!(part, content[*at..end], "at {at}");
        }
        // So that the next round does not find all of it in the page cache.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    assert!(get(io.read_ranges::<Vec<u8>>(&file, Vec::new())).expect("nothing").is_empty());

    let error = get(io.read_ranges(&file, vec![(0, vec![1; 3]), (9, Vec::new()), (5, vec![1; 2])])).expect_err("empty");
    assert_eq!((error.kind(), error.offset()), (ErrorKind::InvalidInput, Some(9)));
    assert_eq!(error.into_buffer().map(|buffers| buffers.len()), Some(3), "they come back");
    let folder = get(io.open(&dir.0, READ)).expect("opened");
    let error = get(io.read_ranges(&folder, vec![(0, vec![1; 3]), (7, vec![1; 2])])).expect_err("a folder");
    assert_eq!((error.raw_os_error(), error.offset()), (Some(libc::EISDIR), Some(0)), "{error}");
    assert_eq!(error.into_buffer(), Some(vec![vec![1; 3], vec![1; 2]]));

    // One that panics takes the whole with it, and nobody else.
    struct Treacherous(Vec<u8>);
    impl IoBufMut for Treacherous {
        fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
        fn cut(&mut self, len: usize) {
            assert!(len != 3, "a buffer that panics");
        }
    }
    let ranges = vec![(0, Treacherous(vec![0; 9])), ((1 << 20) - 3, Treacherous(vec![0; 9]))];
    let Err(error) = get(io.read_ranges(&file, ranges)) else { panic!("a panic is no result") };
    assert!(error.is_abandoned() && error.into_buffer().is_none());
    drop((file, folder));
    end(&stop);
}

pub fn files_are_looked_at(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let mut paths: Vec<PathBuf> = (0..300).map(|i| dir.file(&format!("object-{i}"), &vec![0; i])).collect();
    paths.insert(100, dir.0.join("missing"));
    paths.insert(200, "/proc/self/status".into());
    paths.push(dir.0.clone());
    // Another owner than this process has, where it may give its files away.
    let _ = std::os::unix::fs::chown(&paths[0], Some(1234), Some(5678));
    let found = get(io.stat_many(paths.clone())).expect("looked at");
    assert_eq!(found.len(), paths.len());
    for (path, found) in paths.iter().zip(&found) {
        match (fs::metadata(path), found) {
            (Ok(there), Ok(found)) => {
                assert_eq!((there.len(), there.mode(), there.ino()), (found.len(), found.mode(), found.ino()));
                assert_eq!((there.nlink(), there.uid(), there.gid()), (found.links().into(), found.uid(), found.gid()));
                let what = (there.is_file(), there.is_dir(), there.len() == 0);
                assert_eq!(what, (found.is_file(), found.is_dir(), found.is_empty()));
                let (major, minor) = (rustix::fs::major(there.dev()), rustix::fs::minor(there.dev()));
                assert_eq!(u64::from(major) << 32 | u64::from(minor), found.dev());
                // (None where there is no such time: under /proc.)
                let since_1970 = |time: SystemTime| time.duration_since(UNIX_EPOCH).expect("after 1970");
                let made = found.created().map(|time| Duration::new(time.seconds as u64, time.nanoseconds));
                assert_eq!(there.created().ok().map(since_1970), made);
                if !path.starts_with("/proc") {
                    assert_eq!(there.blocks(), found.blocks());
                    let time = |time: Timestamp| (time.seconds, i64::from(time.nanoseconds));
                    assert_eq!((there.atime(), there.atime_nsec()), time(found.accessed()));
                    assert_eq!((there.mtime(), there.mtime_nsec()), time(found.modified()));
                    assert_eq!((there.ctime(), there.ctime_nsec()), time(found.changed()));
                }
            }
            (Err(_), Err(error)) => {
                assert_eq!(
                    (error.kind(), error.path(), error.operation()),
                    (ErrorKind::NotFound, Some(&**path), "stat")
                );
            }
            (there, found) => panic!("{}: {there:?}, {found:?}", path.display()),
        }
    }
    assert!(get(io.stat_many(Vec::<PathBuf>::new())).expect("nothing").is_empty());

    // A path that panics takes with it no more than some of those beside it.
    struct Treacherous(PathBuf, bool);
    impl AsRef<Path> for Treacherous {
        fn as_ref(&self) -> &Path {
            let caller = std::thread::current().name().is_some_and(|name| name.starts_with("uw-"));
            assert!(!(self.1 && caller), "a path that panics");
            &self.0
        }
    }
    let many = (0..1000).map(|i| Treacherous(paths[7].clone(), i % 100 == 50)).collect::<Vec<_>>();
    let found = get(io.stat_many(many)).expect("looked at");
    let lost = found.iter().filter(|found| found.as_ref().is_err_and(|error| error.is_abandoned())).count();
    assert_eq!(found.iter().filter(|found| found.is_ok()).count() + lost, 1000);
    assert!((10..=640).contains(&lost), "{lost} were lost");

    let one = get(io.stat(&paths[7])).expect("there");
    assert_eq!((one.len(), one.is_file(), one.kind(), one.is_empty()), (7, true, FileKind::File, false));
    assert_eq!(one.dev(), get(io.stat(&dir.0)).expect("there").dev());
    assert!(one.changed() >= one.created().unwrap_or_default() && one.accessed().nanoseconds < 1_000_000_000);
    let file = get(io.open(&paths[7], READ)).expect("opened");
    assert_eq!(get(io.stat_file(&file)).expect("there"), one);
    assert_eq!(get(io.stat(dir.0.join("missing"))).expect_err("missing").kind(), ErrorKind::NotFound);
    assert_eq!(get(io.stat("a\0b")).expect_err("a NUL").kind(), ErrorKind::InvalidInput);
    drop(file);
    end(&stop);
}

/// The service is closed while a list has paths left, and each of them panics: the process goes on.
pub fn paths_that_panic_are_let_go_of(backend: Backend) {
    const PATHS: usize = 2000;
    #[derive(Default)]
    struct Seen {
        begun: AtomicBool,
        closed: AtomicBool,
        dropped: AtomicUsize,
    }
    struct Treacherous(Arc<Seen>);
    impl AsRef<Path> for Treacherous {
        fn as_ref(&self) -> &Path {
            if std::thread::current().name().is_some_and(|name| name.starts_with("uw-")) {
                self.0.begun.store(true, SeqCst);
                until("the service is closed", || self.0.closed.load(SeqCst));
                panic!("a path that panics");
            }
            Path::new("/")
        }
    }
    impl Drop for Treacherous {
        fn drop(&mut self) {
            self.0.dropped.fetch_add(1, SeqCst);
        }
    }
    let (stop, seen) = (Stop::new("test"), Arc::new(Seen::default()));
    let io = start(backend, &stop);
    let wanted = io.stat_many((0..PATHS).map(|_| Treacherous(Arc::clone(&seen))).collect::<Vec<_>>());
    until("a batch is begun", || seen.begun.load(SeqCst));
    drop(stop.shutdown(Plan::within(Duration::ZERO)));
    seen.closed.store(true, SeqCst);
    until("all are dropped", || seen.dropped.load(SeqCst) == PATHS);
    drop(wanted);
}

pub fn directories_come_in_batches(backend: Backend) {
    const NAMES: usize = 5000;
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let folder = dir.0.join("folder");
    get(io.create_dir(&folder, 0o750)).expect("made");
    for i in 0..NAMES {
        fs::File::create(folder.join(format!("a-name-of-some-length-{i}"))).expect("a file");
    }
    fs::create_dir(folder.join("inner")).expect("a folder");
    let there = fs::read_dir(&folder).expect("there").map(|entry| entry.expect("read"));
    let expected: HashMap<_, _> = there.map(|entry| (entry.file_name(), entry.ino())).collect();

    let mut names = io.read_dir(&folder);
    let (mut found, mut batches) = (HashSet::new(), 0);
    for batch in names.batches() {
        let batch = batch.expect("not stopped").expect("read");
        batches += 1;
        for entry in batch {
            let kind = if entry.name() == "inner" { FileKind::Directory } else { FileKind::File };
            assert!(entry.kind() == kind || entry.kind() == FileKind::Unknown);
            assert_eq!(Some(&entry.ino()), expected.get(entry.name()));
            assert!(found.insert(entry.into_name()));
        }
    }
    let all = found.len() == expected.len();
    assert!(all && (2..NAMES / 100).contains(&batches), "{} names in {batches} batches", found.len());
    assert!(names.wait().expect("not stopped").expect("read").is_none(), "the end stays the end");

    // A task; and under a monitor's lock, from an open directory.
    let mut names = io.read_dir(&folder);
    let mut count = 0;
    while let Some(batch) = block_on(names.next()).expect("not stopped").expect("read") {
        count += batch.len();
    }
    assert_eq!(count, NAMES + 1);
    let monitor = Monitor::new("lock", std::sync::Mutex::new(0), &stop);
    let open = get(io.open(&folder, READ.directory(true))).expect("opened");
    let mut names = io.read_dir_of(&open);
    loop {
        let (mut count, batch) = monitor.lock().expect("not stopped").wait_for(names.batch()).expect("not stopped");
        let batch = batch.expect("read");
        if batch.is_empty() {
            break;
        }
        *count += batch.len();
    }
    assert_eq!(*monitor.lock().expect("not stopped"), NAMES + 1);

    // What is there is kept until it is taken.
    let mut names = io.read_dir(&folder);
    until("a batch", || names.batch().is_complete());
    let mut count = 0;
    while let Some(batch) = names.wait().expect("not stopped").expect("read") {
        count += batch.len();
    }
    assert_eq!(count, NAMES + 1);
    // A FIFO is no folder, and its open would wait.
    let error = io.read_dir(dir.fifo()).wait_until(guard()).expect("answered").expect_err("a FIFO");
    assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    let error = io.read_dir(folder.join("missing")).wait_until(guard()).expect("answered").expect_err("missing");
    assert_eq!((error.operation(), error.kind()), ("read_dir", ErrorKind::NotFound), "{error}");
    let mut no_folder = io.read_dir(folder.join("a-name-of-some-length-1"));
    assert_eq!(no_folder.wait().expect("not stopped").expect_err("a file").raw_os_error(), Some(libc::ENOTDIR));
    assert!(no_folder.wait().expect("not stopped").expect("it has ended").is_none());
    drop((names, open));
    end(&stop);
}

pub fn names_are_changed(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let (folder, path) = (dir.0.join("folder"), dir.file("object", b"content"));
    get(io.create_dir(&folder, 0o700)).expect("made");
    assert_eq!(fs::metadata(&folder).expect("there").mode() & 0o777, 0o700);
    assert_eq!(get(io.create_dir(&folder, 0o700)).expect_err("there").kind(), ErrorKind::AlreadyExists);
    get(io.rename(&path, folder.join("object"))).expect("renamed");
    assert_eq!(get(io.remove_dir(&folder)).expect_err("not empty").raw_os_error(), Some(libc::ENOTEMPTY));
    assert_eq!(get(io.remove_file(&folder)).expect_err("a folder").raw_os_error(), Some(libc::EISDIR));
    get(io.remove_file(folder.join("object"))).expect("removed");
    let open = get(io.open(&folder, READ.directory(true))).expect("opened");
    get(io.fsync(&open)).expect("durable");
    drop(open);
    get(io.remove_dir(&folder)).expect("removed");
    assert!(!folder.exists());
    end(&stop);
}

/// An operation that is not answered in time gives an error; its buffer stays, and its late answer goes nowhere.
pub fn operations_have_a_deadline(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let limit = Duration::from_millis(30);
    let io = Io::builder(&stop).backend(backend).threads(8).deadline(limit).build().expect("a backend");
    // What is answered within its deadline is not late. (A machine may be as late as the first one's limit with anything.)
    let patient = Io::builder(&stop).backend(backend).deadline(help::GUARD).build().expect("a backend");
    let fifo = dir.fifo();
    let stuck = get(patient.open(&fifo, READ.write(true))).expect("opened");
    let begun = Instant::now();
    let error = get(io.read_at(&stuck, vec![0; 16], 0)).expect_err("not answered");
    assert!(begun.elapsed() >= limit && error.is_timed_out(), "{error}");
    assert_eq!((error.kind(), error.operation(), error.offset()), (ErrorKind::TimedOut, "read", Some(0)));
    assert!(error.to_string().ends_with("not answered within the deadline of operations"), "{error}");
    assert!(error.into_buffer().is_none(), "the kernel still has it");
    // In a row.
    let late: Vec<_> = (0..3).map(|_| io.read_at(&stuck, vec![0; 16], 0)).collect();
    let path = dir.file("object", b"content");
    let file = get(patient.open(&path, READ)).expect("opened");
    assert_eq!(get(patient.read_exact_at(&file, vec![0; 7], 0)).expect("read"), b"content");
    assert!(late.into_iter().all(|read| get(read).expect_err("not answered").is_timed_out()));
    let metrics = io.metrics();
    assert_eq!((metrics.timed_out(), metrics.operation(Operation::Read).in_flight()), (4, 4), "{metrics:?}");
    // The answers.
    get(patient.write_at(&stuck, vec![0; 64], 0)).expect("written");
    let until = guard();
    while io.metrics().in_flight() > 0 {
        assert!(Instant::now() < until, "{:?}", io.metrics());
        std::thread::yield_now();
    }
    assert_eq!((io.metrics().too_late(), patient.metrics().timed_out()), (4, 0));
    // It does not end with the handle.
    let last = io.read_at(&stuck, vec![0; 16], 0);
    drop(io);
    assert!(get(last).expect_err("not answered").is_timed_out());
    get(patient.write_at(&stuck, vec![0; 16], 0)).expect("written");
    drop((file, stuck));
    end(&stop);
}

pub fn what_is_done_is_counted(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let file = get(io.open(&path, READ.write(true))).expect("opened");
    for _ in 0..10 {
        get(io.read_at(&file, vec![0; 7], 0)).expect("read");
    }
    get(io.write_at(&file, *b"x", 0)).expect("written");
    get(io.fsync(&file)).expect("durable");
    assert!(get(io.stat(dir.0.join("missing"))).is_err());
    get(io.run_blocking("job", || std::thread::sleep(Duration::from_millis(3)))).expect("run");
    let metrics = io.metrics();
    let of = |kind| *metrics.operation(kind);
    assert_eq!((metrics.backend(), metrics.fallback_reason()), (io.backend(), io.fallback_reason()));
    assert_eq!((of(Operation::Open).done(), of(Operation::Read).done(), of(Operation::Write).done()), (1, 10, 1));
    assert_eq!((of(Operation::Stat).done(), of(Operation::Stat).failed(), of(Operation::Sync).failed()), (1, 1, 0));
    let jobs = of(Operation::Job);
    assert!(jobs.slowest() >= Duration::from_millis(3) && jobs.total() >= jobs.slowest());
    assert!(jobs.quantile(0.5).is_some_and(|half| half >= Duration::from_millis(2)), "{jobs:?}");
    assert_eq!((metrics.in_flight(), metrics.too_late(), metrics.timed_out()), (0, 0, 0));
    assert!(metrics.pool_threads() >= 1);
    // Three that meet are three threads.
    let meeting = Arc::new(std::sync::Barrier::new(3));
    let meet = |_| {
        let meeting = Arc::clone(&meeting);
        io.run_blocking("job", move || meeting.wait().is_leader())
    };
    let jobs: Vec<_> = (0..3).map(meet).collect();
    assert_eq!(jobs.into_iter().map(|job| get(job).expect("run")).filter(|leads| *leads).count(), 1);
    assert!(io.metrics().pool_threads() >= 3);
    drop(file);
    end(&stop);
    assert_eq!((io.metrics().leaked_operations(), io.metrics().leaked_threads()), (0, 0));
}

#[cfg(feature = "bytes")]
pub fn bytes_are_buffers(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let file = get(io.open(&path, READ.write(true))).expect("opened");
    let read = get(io.read_at(&file, bytes::BytesMut::zeroed(100), 3)).expect("read");
    assert_eq!(read, b"tent"[..]);
    let read = get(io.write_at(&file, read.freeze(), 0)).expect("written");
    assert_eq!(fs::read(&path).expect("there"), b"tentent");
    assert_eq!(get(io.write_at(&file, bytes::BytesMut::from("bytes"), 0)).expect("written"), b"bytes"[..]);
    assert_eq!(fs::read(&path).expect("there"), b"bytesnt");
    drop((file, read));
    end(&stop);
}

#[cfg(not(feature = "bytes"))]
pub fn bytes_are_buffers(_: Backend) {
    eprintln!("not tested: built without the feature `bytes`");
}

pub fn threads_have_the_name_that_was_given(backend: Backend) {
    let stop = Stop::new("test");
    let limit = Duration::from_secs(60);
    let io = Io::builder(&stop).backend(backend).name("mds.fs0").deadline(limit).build().expect("a backend");
    let name = get(io.run_blocking("name", || std::thread::current().name().map(str::to_owned))).expect("run");
    assert_eq!(name.as_deref(), Some("uw-mds.fs0-1"));
    let ring = (io.backend() == "uring").then_some("uw-mds.fs0-ring\n");
    let wanted: Vec<_> = ring.into_iter().chain(["uw-mds.fs0-time\n"]).collect();
    // A thread gives itself its name when it begins to run.
    let until = guard();
    loop {
        let tasks = fs::read_dir("/proc/self/task").expect("proc");
        let threads: Vec<_> =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect();
        if wanted.iter().all(|wanted| threads.iter().any(|name| name == wanted)) {
            break;
        }
        assert!(Instant::now() < until, "{wanted:?} among {threads:?}");
        std::thread::yield_now();
    }
    end(&stop);
}

/// Options that are only passed on.
pub fn more_options_reach_the_kernel(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", b"content");
    let options = OpenOptions::new().write(true).read(true).data_sync(true).no_atime(true);
    let file = get(io.open(&path, options)).expect("opened");
    let flags = rustix::fs::fcntl_getfl(&file).expect("flags");
    assert!(flags.contains(rustix::fs::OFlags::DSYNC | rustix::fs::OFlags::NOATIME));
    let both = READ.directory(true).write(true);
    assert_eq!(get(io.open(&dir.0, both)).expect_err("senseless").kind(), ErrorKind::InvalidInput);
    drop(file);
    end(&stop);
}

/// What changes a file is done though nobody waits for it, also where it had to wait for its turn.
pub fn what_changes_files_is_done_for_nobody(backend: Backend) {
    const WRITES: u8 = 100;
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = Io::builder(&stop).backend(backend).depth(2).threads(2).build().expect("a backend");
    let (path, new) = (dir.0.join("object"), READ.write(true).create(true));
    let file = get(io.open(&path, new)).expect("created");
    for i in 0..WRITES {
        drop(io.write_at(&file, [i], i.into()));
    }
    for i in 0..WRITES {
        drop(io.open(dir.0.join(format!("object-{i}")), new));
    }
    let expected: Vec<u8> = (0..WRITES).collect();
    until("all is written", || fs::read(&path).expect("there") == expected);
    until("all are there", || (0..WRITES).all(|i| dir.0.join(format!("object-{i}")).exists()));
    drop(file);
    end(&stop);
}

/// What a stream takes or gives at a time is less than what is asked for: the rest follows, and no more than that.
pub fn streams_go_on_where_they_were(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let file = io.attach(ours, "client").expect("attached");
    let read = io.read_exact_at(&file, vec![0; 10], 0);
    std::io::Write::write_all(&mut theirs, b"01234").expect("written");
    std::thread::sleep(Duration::from_millis(2));
    // More than what is missing.
    std::io::Write::write_all(&mut theirs, b"56789next").expect("written");
    assert_eq!(get(read).expect("read"), b"0123456789");
    assert_eq!(get(io.read_exact_at(&file, vec![0; 4], 0)).expect("read"), b"next");
    // More than a socket holds.
    let content = pattern(4 << 20);
    let write = io.write_at(&file, content.clone(), 0);
    let mut taken = vec![0; content.len()];
    std::io::Read::read_exact(&mut theirs, &mut taken).expect("read");
    assert!(taken == content);
    assert!(get(write).expect("written") == content);
    drop(file);
    end(&stop);
    assert_eq!(std::io::Read::read(&mut theirs, &mut taken).expect("the end"), 0, "nothing more was sent");
}

pub fn buffers_of_every_kind_are_written(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.0.join("object");
    let file = get(io.open(&path, READ.write(true).create_new(true).mode(0o600))).expect("created");
    assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
    let boxed: Box<[u8]> = b"box".to_vec().into();
    let shared: Arc<[u8]> = b"arc".to_vec().into();
    assert_eq!(*get(io.write_at(&file, boxed, 0)).expect("written"), *b"box");
    assert_eq!(*get(io.write_at(&file, shared, 3)).expect("written"), *b"arc");
    assert_eq!(get(io.write_at(&file, &b"static"[..], 6)).expect("written"), b"static");
    assert_eq!(get(io.write_at(&file, String::from("string"), 12)).expect("written"), "string");
    assert_eq!(get(io.write_at(&file, "text", 18)).expect("written"), "text");
    assert_eq!(get(io.write_at(&file, [7; 2], 22)).expect("written"), [7; 2]);
    assert_eq!(get(io.read_at(&file, vec![0; 99], 0)).expect("read"), b"boxarcstaticstringtext\x07\x07");
    drop(file);
    end(&stop);
}

/// What the kernel has in memory is read and opened on the caller's own thread; what goes past the page cache is not. The kernel is asked first whether it can.
pub fn what_is_in_memory_is_done_at_once(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let path = dir.file("object", &pattern(8192));
    let prompt = |kind| io.metrics().operation(kind).prompt();

    let file = get(io.open(&path, READ)).expect("opened");
    let mut bytes = [0; 4096];
    let mut room = [std::io::IoSliceMut::new(&mut bytes)];
    if rustix::io::preadv2(&file, &mut room, 0, rustix::io::ReadWriteFlags::NOWAIT) == Ok(4096) {
        until("a read from memory", || {
            assert_eq!(get(io.read_at(&file, vec![0; 4096], 0)).expect("read"), pattern(4096));
            prompt(Operation::Read) > 0
        });
    } else {
        eprintln!("not tested: no read without waiting here");
    }
    if let Ok(direct) = get(io.open(&path, READ.direct(true))) {
        let before = prompt(Operation::Read);
        for _ in 0..3 {
            drop(get(io.read_at(&direct, aligned(4096), 0)).unwrap_or_else(|error| panic!("{error}")));
        }
        assert_eq!(prompt(Operation::Read), before, "past the page cache");
    }

    let (path_only, cached) = (rustix::fs::OFlags::PATH, rustix::fs::ResolveFlags::CACHED);
    let known = rustix::fs::openat2(rustix::fs::CWD, &path, path_only, rustix::fs::Mode::empty(), cached);
    if known.is_ok() && is_local(&path) {
        let before = prompt(Operation::Open);
        until("an open from memory", || {
            drop(get(io.open(&path, READ)).expect("opened"));
            prompt(Operation::Open) > before
        });
        // ext4 and tmpfs open a folder so, too.
        if matches!(rustix::fs::statfs(&dir.0).expect("there").f_type, 0xef53 | 0x0102_1994) {
            let before = prompt(Operation::Open);
            until("an open of a folder from memory", || {
                drop(get(io.open(&dir.0, READ)).expect("opened"));
                prompt(Operation::Open) > before
            });
        }
        // For writing quotas may have to be read, and what changes the file may wait.
        let before = prompt(Operation::Open);
        for options in [READ.write(true), READ.write(true).truncate(true)] {
            drop(get(io.open(&path, options)).expect("opened"));
        }
        assert_eq!(prompt(Operation::Open), before, "for writing");
    } else {
        eprintln!("not tested: no open without waiting here");
    }
    drop(file);
    end(&stop);
}
