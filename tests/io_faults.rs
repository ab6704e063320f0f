//! Storage that answers wrongly: an error, less than was asked for, an interruption, a file that is cut meanwhile, no room, no descriptors. Each is an
//! error that says what it is, with the buffer, or is gone on with; and nothing is left behind.
//!
//! One test, because it limits the descriptors, and the files' lengths, of the whole process.

#[path = "io/backends.rs"]
mod backends;
#[path = "io/fuse.rs"]
#[expect(dead_code, reason = "not all of it is needed here")]
mod fuse;
#[path = "io/help.rs"]
#[expect(dead_code, reason = "not all of it is needed here")]
mod help;

use std::{fs, io::ErrorKind, path::Path};

use backends::backends;
use fuse::Fuse;
use help::{Dir, READ, end, get, pattern};
use rustix::process::{Resource, getrlimit, setrlimit};
use unwedge::{
    Stop,
    io::{Backend, File, Io, IoError},
};

struct Life {
    stop: Stop,
    io: Io,
}

impl Life {
    fn new(backend: Backend) -> Life {
        let stop = Stop::new("test");
        let io = Io::builder(&stop).backend(backend).build().expect("a backend");
        Life { stop, io }
    }

    fn open(&self, path: &Path) -> File {
        get(self.io.open(path, READ.write(true))).expect("opened")
    }

    fn end(self) {
        assert_eq!(self.io.metrics().in_flight(), 0);
        end(&self.stop);
    }
}

#[test]
fn faults_are_told() {
    let mount = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}", std::process::id()));
    for backend in backends() {
        no_room(backend);
        too_large(backend);
        files_are_cut(backend);
        short_reads(backend);
        match Fuse::mount(&mount) {
            Ok(fuse) => {
                errors(backend, &fuse);
                interruptions(backend, &fuse);
                accidents(backend, &fuse);
            }
            Err(error) => eprintln!("not tested: this process may not mount a FUSE file system: {error}"),
        }
        no_descriptors(backend);
    }
}

fn number<B>(error: &IoError<B>) -> Option<i32> {
    error.raw_os_error()
}

fn no_room(backend: Backend) {
    let life = Life::new(backend);
    let full = life.open(Path::new("/dev/full"));
    let error = get(life.io.write_at(&full, pattern(10_000), 0)).expect_err("full");
    assert_eq!((number(&error), error.kind()), (Some(libc::ENOSPC), ErrorKind::StorageFull));
    assert_eq!(error.to_string(), "write of /dev/full at offset 0: No space left on device (os error 28)");
    assert!(error.into_buffer().is_some_and(|buffer| buffer == pattern(10_000)), "unchanged");
    drop(full);
    life.end();
}

/// There is room for a part of what is written: then the rest is tried behind it, and says why it cannot be.
fn too_large(backend: Backend) {
    const LIMIT: usize = 100_000;
    let (life, dir) = (Life::new(backend), Dir::new());
    let path = dir.file("object", b"");
    let file = life.open(&path);
    // SAFETY: from here on the signal that such a write would bring is ignored; nobody in this process has a handler for it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let (soft, hard) = limit(Resource::Fsize, None);
    limit(Resource::Fsize, Some((LIMIT as u64, hard)));
    let error = get(life.io.write_at(&file, pattern(9000), LIMIT as u64 - 4000)).expect_err("too large");
    limit(Resource::Fsize, Some((soft, hard)));
    assert_eq!((number(&error), error.into_buffer()), (Some(libc::EFBIG), Some(pattern(9000))));
    let found = fs::read(&path).expect("there");
    assert_eq!((found.len(), &found[LIMIT - 4000..]), (LIMIT, &pattern(4000)[..]));
    drop(file);
    life.end();
}

/// Cut between its opening and the read; and again and again while it is read.
fn files_are_cut(backend: Backend) {
    const LEN: usize = 1 << 20;
    let (life, dir) = (Life::new(backend), Dir::new());
    let path = dir.file("object", &pattern(LEN));
    let file = life.open(&path);
    fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(5000)).expect("cut");
    assert_eq!(get(life.io.read_at(&file, vec![0; LEN], 0)).expect("read").len(), 5000);
    let error = get(life.io.read_exact_at(&file, vec![0; LEN], 0)).expect_err("cut");
    assert!(error.to_string().ends_with(&format!("the file ends after 5000 of {LEN} bytes")), "{error}");

    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let other = fs::OpenOptions::new().write(true).open(&path).expect("there");
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                other.set_len(0).and_then(|()| other.set_len(LEN as u64)).expect("cut");
            }
        });
        for _ in 0..200 {
            // Not from the page cache alone.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            match get(life.io.read_exact_at(&file, vec![1; LEN], 0)) {
                Ok(read) => assert_eq!(read.len(), LEN),
                Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}"),
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(file);
    life.end();
}

fn errors(backend: Backend, fuse: &Fuse) {
    let life = Life::new(backend);
    let file = life.open(&fuse.object());
    // Nothing of it is in the page cache.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    fuse.fail(fuse::READ, libc::EIO, usize::MAX);
    let error = get(life.io.read_at(&file, vec![1; 4096], 8192)).expect_err("it fails");
    assert_eq!(number(&error), Some(libc::EIO));
    assert_eq!(
        error.to_string(),
        format!("read of {} at offset 8192: Input/output error (os error 5)", fuse.object().display())
    );
    assert_eq!(error.into_buffer().map(|buffer| buffer.len()), Some(4096), "uncut");
    let ranges = vec![(0, vec![1; 10]), (100_000, vec![1; 20])];
    let error = get(life.io.read_ranges(&file, ranges)).expect_err("it fails");
    assert_eq!((number(&error), error.into_buffer().map(|buffers| buffers.len())), (Some(libc::EIO), Some(2)));
    for (kind, errno) in [(fuse::WRITE, libc::ENOSPC), (fuse::WRITE, libc::EIO), (fuse::WRITE, libc::EROFS)] {
        fuse.fail(kind, errno, usize::MAX);
        let error = get(life.io.write_at(&file, *b"data", 0)).expect_err("it fails");
        assert_eq!((number(&error), error.into_buffer()), (Some(errno), Some(*b"data")));
    }
    fuse.fail(fuse::FSYNC, libc::EIO, usize::MAX);
    let error = get(life.io.fsync(&file)).expect_err("it fails");
    assert_eq!((number(&error), error.operation()), (Some(libc::EIO), "fsync"));
    fuse.fail(fuse::OPEN, libc::ENFILE, usize::MAX);
    assert_eq!(number(&get(life.io.open(fuse.object(), READ)).expect_err("it fails")), Some(libc::ENFILE));
    fuse.fail(fuse::LOOKUP, libc::EIO, usize::MAX);
    assert_eq!(number(&get(life.io.stat(fuse.dir().join("other"))).expect_err("it fails")), Some(libc::EIO));
    fuse.fail(fuse::READDIR, libc::EIO, usize::MAX);
    let error = life.io.read_dir(fuse.dir()).wait().expect("not stopped").expect_err("it fails");
    assert_eq!((number(&error), error.path()), (Some(libc::EIO), Some(fuse.dir())));
    // The failure is over, and nothing of it stays.
    fuse.fail(fuse::READ, 0, 0);
    assert_eq!(get(life.io.read_at(&file, vec![1; 3], 8192)).expect("read"), [0, 1, 2]);
    let names = life.io.read_dir(fuse.dir()).wait().expect("not stopped").expect("read").expect("a batch");
    assert_eq!(names.iter().map(|entry| entry.name()).collect::<Vec<_>>(), ["object"]);
    drop(file);
    life.end();
}

/// A call that was interrupted is made again.
fn interruptions(backend: Backend, fuse: &Fuse) {
    let life = Life::new(backend);
    let file = life.open(&fuse.object());
    for at in [65_536 * 3, 65_536 * 5] {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        fuse.fail(fuse::READ, libc::EINTR, 3);
        assert_eq!(get(life.io.read_exact_at(&file, vec![1; 3], at)).expect("read"), [0, 1, 2]);
    }
    fuse.fail(fuse::WRITE, libc::EINTR, 2);
    assert_eq!(get(life.io.write_at(&file, *b"\0\x01", 0)).expect("written"), *b"\0\x01");
    fuse.fail(fuse::FSYNC, libc::EINTR, 2);
    get(life.io.fsync(&file)).expect("durable");
    fuse.fail(fuse::OPEN, libc::EINTR, 2);
    drop(get(life.io.open(fuse.object(), READ)).expect("opened"));
    drop(file);
    life.end();
}

/// What a read on the ring comes back with where the kernel lost the thread for it is tried once more there, whoever says it; nothing else is.
fn accidents(backend: Backend, fuse: &Fuse) {
    let life = Life::new(backend);
    // Past the page cache, so that a read is one request.
    let file = get(life.io.open(fuse.object(), READ.write(true).direct(true))).expect("opened");
    let read = || get(life.io.read_at(&file, vec![1; 4096], 4096)).map_err(|error| number(&error));
    for errno in [libc::ECANCELED, libc::EFAULT] {
        let tries = if life.io.backend() == "uring" { 2 } else { 1 };
        fuse.fail(fuse::READ, errno, tries);
        assert_eq!(read().expect_err("it fails"), Some(errno));
        fuse.fail(fuse::READ, errno, tries - 1);
        assert!(read().expect("read").into_iter().eq((0..4096).map(|i| i as u8)));
    }
    fuse.fail(fuse::READ, libc::EIO, 1);
    assert_eq!(read().expect_err("it fails"), Some(libc::EIO));
    for errno in [libc::ECANCELED, libc::EIO] {
        fuse.fail(fuse::WRITE, errno, 1);
        let error = get(life.io.write_at(&file, vec![0; 4096], 0)).expect_err("it fails");
        assert_eq!(number(&error), Some(errno));
    }
    fuse.fail(fuse::READ, 0, 0);
    drop(file);
    life.end();
}

/// A file that gives a few kilobytes at a time, whatever is asked for: a plain read says so by its length, an exact one goes on.
fn short_reads(backend: Backend) {
    const LEN: usize = 100_000;
    let path = Path::new("/proc/kallsyms");
    let whole = fs::read(path).unwrap_or_default();
    if whole.len() < LEN {
        return eprintln!("not tested: {} has {} bytes", path.display(), whole.len());
    }
    let life = Life::new(backend);
    let file = get(life.io.open(path, READ)).expect("opened");
    let read = get(life.io.read_at(&file, vec![0; LEN], 0)).expect("read");
    assert!(!read.is_empty() && read.len() < LEN && whole.starts_with(&read), "{} bytes", read.len());
    for offset in [0, 777] {
        let read = get(life.io.read_exact_at(&file, vec![0; LEN], offset as u64)).expect("read");
        assert!(read == whole[offset..offset + LEN], "from {offset} on");
    }
    drop(file);
    life.end();
}

/// Without descriptors an open says so, and what is open goes on; one more and it works again.
fn no_descriptors(backend: Backend) {
    let (life, dir) = (Life::new(backend), Dir::new());
    let path = dir.file("object", b"content");
    let file = life.open(&path);
    let (soft, hard) = limit(Resource::Nofile, None);
    limit(Resource::Nofile, Some((64.min(soft), hard)));
    let mut open = Vec::new();
    let error = loop {
        match get(life.io.open(&path, READ)) {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
        assert!(open.len() <= 64, "there are no more");
    };
    assert_eq!(number(&error), Some(libc::EMFILE), "{error}");
    assert_eq!(error.to_string(), format!("open of {}: Too many open files (os error 24)", path.display()));
    assert_eq!(get(life.io.read_exact_at(&file, vec![0; 7], 0)).expect("read"), b"content");
    assert_eq!(
        number(&life.io.read_dir(&dir.0).wait().expect("not stopped").expect_err("none left")),
        Some(libc::EMFILE)
    );
    assert_eq!(get(life.io.stat(&path)).expect("there").len(), 7);
    // A life that begins now has no ring, and says why; it does without.
    let second = Stop::new("second");
    assert!(Io::builder(&second).backend(Backend::Uring).build().is_err());
    let io = Io::builder(&second).build().expect("the pool needs none");
    if std::env::var_os("UNWEDGE_IO").is_none() {
        assert!(io.fallback_reason().is_some_and(|reason| !reason.is_empty()));
    }
    assert_eq!(get(io.run_blocking("job", || 7)), Ok(7));
    end(&second);

    open.truncate(3);
    let until = help::guard();
    // Files are closed by the backend: so not at once.
    let again = loop {
        match get(life.io.open(&path, READ)) {
            Ok(file) => break file,
            Err(error) => assert_eq!(number(&error), Some(libc::EMFILE)),
        }
        assert!(std::time::Instant::now() < until, "it can be opened again");
    };
    drop((again, open, file));
    life.end();
    limit(Resource::Nofile, Some((soft, hard)));
}

/// A limit of the process, after it was set.
fn limit(of: Resource, set: Option<(u64, u64)>) -> (u64, u64) {
    let mut limit = getrlimit(of);
    if let Some((soft, hard)) = set {
        // The greatest number is what stands for none.
        let number = |number| Some(number).filter(|number| *number != u64::MAX);
        (limit.current, limit.maximum) = (number(soft), number(hard));
        setrlimit(of, limit).expect("a limit");
    }
    let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    (number(limit.current), number(limit.maximum))
}
