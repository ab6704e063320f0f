//! Random operations of every kind, and waits that never end, met by random cancels, drops, deadlines and stops, life after life, on both backends.
//!
//! Four threads of a life begin operations on a file whose pages begin with their number (through the page cache and past it, cold and warm), and on a
//! socket to which nobody writes, and wait for them in all ways, or do not. The life is shut down at a random moment with a random deadline. Then:
//! every result that came was right; no error came before the stop; buffers that are not back are no more than what the shutdown
//! reported, and come back; descriptors and threads are as many as before, and the memory does not grow.
//!
//! `UNWEDGE_STORM=OPERATIONS[,SEED]` chooses how much; the seed is printed. Threads race, so a run is not repeated exactly by its seed.

#[path = "io/pages.rs"]
mod pages;

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Abandoned, Completion, Plan, Stop, WaitError,
    io::{Backend, File, Io, IoBuf, IoBufMut, IoError, OpenOptions},
};

use pages::Pages;

const GUARD: Duration = Duration::from_secs(60);
const PAGE: usize = 4096;
const PAGES: u64 = 2048;
const THREADS: u64 = 4;
/// Operations of a thread in a life at most.
const OF_A_LIFE: u64 = 600;

/// Buffers that are not given back.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

#[repr(C, align(4096))]
struct Bytes([u8; PAGE]);

struct Buffer {
    bytes: Box<Bytes>,
    len: usize,
}

impl Buffer {
    fn new(number: u64) -> Buffer {
        ALIVE.fetch_add(1, Relaxed);
        let mut bytes = Box::new(Bytes([0x5a; PAGE]));
        bytes.0[..8].copy_from_slice(&number.to_le_bytes());
        Buffer { bytes, len: PAGE }
    }

    fn is_page(&self, number: u64) -> bool {
        self.len == PAGE && self.bytes.0[..8] == number.to_le_bytes() && self.bytes.0[8..].iter().all(|b| *b == 0x5a)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // What is written here by a kernel that comes late is seen by AddressSanitizer, and by whoever has the memory next.
        self.bytes.0.fill(0);
        ALIVE.fetch_sub(1, Relaxed);
    }
}

impl IoBufMut for Buffer {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes.0
    }

    fn cut(&mut self, len: usize) {
        self.len = len;
    }
}

impl IoBuf for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }
}

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn soon(&mut self) -> Instant {
        let micros = self.below(4) * self.below(200);
        Instant::now() + Duration::from_micros(micros)
    }
}

/// The files of a life. None of them outlives it.
#[derive(Clone)]
struct Files {
    cached: File,
    direct: Option<File>,
    silent: File,
}

/// One thread's life: `ops` random operations, or until the stop. How many were done.
fn live(stop: &Stop, io: &Io, files: &Files, path: &Path, ops: u64, random: &mut Random) -> u64 {
    let mut kept: Vec<(Completion<Buffer, IoError<Buffer>>, u64)> = Vec::new();
    for done in 0..ops {
        if stop.is_requested() && random.below(4) == 0 {
            return done;
        }
        let number = random.below(PAGES);
        let at = number * PAGE as u64;
        let file = files.direct.as_ref().filter(|_| random.below(2) == 0).unwrap_or(&files.cached);
        let read = match random.below(16) {
            0 => io.read_at(&files.silent, Buffer::new(number), 0),
            // The same content as is there: a read beside it is right in any order.
            1 | 2 => io.write_at(file, Buffer::new(number), at),
            3 => {
                let opened = io.open(path, OpenOptions::new().read(true)).wait_until(random.soon());
                match opened {
                    Ok(Ok(file)) => io.read_at(&file, Buffer::new(0), at),
                    Ok(Err(error)) => {
                        assert!(stop.is_requested(), "an open failed: {error}");
                        continue;
                    }
                    Err(_) => continue,
                }
            }
            4 => {
                drop(io.fdatasync(file));
                continue;
            }
            5 => {
                others(stop, io, files, path, number, random);
                continue;
            }
            _ => io.read_at(file, Buffer::new(0), at),
        };
        wait(stop, read, number, &mut kept, random);
    }
    ops
}

/// One of what gives no page back: in its place what it says has to be right.
fn others(stop: &Stop, io: &Io, files: &Files, path: &Path, number: u64, random: &mut Random) {
    fn told<T, E: From<Abandoned>>(mut asked: Completion<T, E>, random: &mut Random) -> Option<Result<T, E>> {
        match random.below(4) {
            0 => asked.cancel(),
            1 => {
                drop(asked);
                None
            }
            _ => asked.wait_until(random.soon()).ok(),
        }
    }
    let at = |n: u64| (number + n) % PAGES;
    let stopped = |error: &dyn std::fmt::Display| assert!(stop.is_requested(), "an error before the stop: {error}");
    match random.below(5) {
        0 => match told(io.stat(path), random) {
            Some(Ok(found)) => assert_eq!(found.len(), PAGES * PAGE as u64),
            Some(Err(error)) => stopped(&error),
            None => {}
        },
        1 => match told(io.stat_many(vec![path.to_owned(); 3]), random) {
            Some(Ok(found)) => assert!(found.len() == 3 && found.iter().all(|one| one.is_ok() || stop.is_requested())),
            Some(Err(error)) => stopped(&error),
            None => {}
        },
        2 => match told(io.run_blocking("storm", move || number), random) {
            Some(Ok(ran)) => assert_eq!(ran, number),
            Some(Err(error)) => stopped(&error),
            None => {}
        },
        3 => {
            // Of no buffers that are counted: those of the ranges that have come wait for the others.
            let ranges = (0..3).map(|n| (at(n) * PAGE as u64, vec![0; PAGE])).collect();
            match told(io.read_ranges(&files.cached, ranges), random) {
                Some(Ok(pages)) => {
                    let is_right = |(n, page): (u64, &Vec<u8>)| page.len() == PAGE && page[..8] == at(n).to_le_bytes();
                    assert!(pages.len() == 3 && (0..).zip(&pages).all(is_right));
                }
                Some(Err(error)) => stopped(&error),
                None => {}
            }
        }
        _ => {
            let (completer, answer) = io.external::<u64, Abandoned>("storm");
            let is_given = random.below(2) == 0;
            if is_given {
                let _ = completer.complete(number);
            } else {
                drop(completer);
            }
            match told(answer.into_completion(), random) {
                Some(Ok(value)) => assert!(is_given && value == number),
                Some(Err(error)) => assert!(!is_given || stop.is_requested(), "{error}"),
                None => {}
            }
        }
    }
}

/// Waits in one of all ways.
fn wait(
    stop: &Stop,
    mut completion: Completion<Buffer, IoError<Buffer>>,
    number: u64,
    kept: &mut Vec<(Completion<Buffer, IoError<Buffer>>, u64)>,
    random: &mut Random,
) {
    match random.below(8) {
        0 => drop(completion),
        1 => {
            if let Some(result) = completion.cancel() {
                check(stop, result, number);
            }
        }
        2 | 3 => {
            kept.push((completion, number));
            if kept.len() > 24 {
                for (mut completion, number) in kept.drain(..) {
                    if let Ok(result) = completion.wait_until(random.soon()) {
                        check(stop, result, number);
                    }
                }
            }
        }
        4 => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            let limit = Duration::from_micros(random.below(300));
            if let Ok(Ok(result)) = runtime.block_on(async { tokio::time::timeout(limit, &mut completion).await }) {
                check(stop, result, number);
            }
        }
        _ => loop {
            match completion.wait_until(random.soon()) {
                Ok(result) => return check(stop, result, number),
                Err(WaitError::TimedOut) if random.below(3) > 0 => {}
                Err(_) => return,
            }
        },
    }
}

fn check(stop: &Stop, result: Result<Buffer, IoError<Buffer>>, number: u64) {
    match result {
        Ok(page) => assert!(page.is_page(number), "the result is not page {number}"),
        Err(error) => assert!(stop.is_requested(), "an error before the stop: {error}"),
    }
}

/// One life; how many operations it saw.
fn one_life(backend: Backend, pages: &Path, ops: u64, random: &mut Random) -> u64 {
    let stop = Stop::new("storm");
    let depth = 1 + random.below(64) as u32;
    let io = Io::builder(&stop).backend(backend).depth(depth).threads(4).build().expect("a backend");
    let cached = fs::File::options().read(true).write(true).open(pages).expect("the file");
    if random.below(3) == 0 {
        // Some of it may be dirty, and stays; the rest is cold.
        // SAFETY: a plain system call on an open descriptor.
        unsafe { libc::posix_fadvise(std::os::fd::AsRawFd::as_raw_fd(&cached), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
    let direct = fs::File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(pages).ok();
    let direct = direct.filter(|file| file.read_exact_at(&mut Buffer::new(0).bytes.0, 0).is_ok());
    let (silent, writer) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
    let attach = |fd: std::os::fd::OwnedFd| io.attach(fd, "storm").expect("an open file");
    let files = Files {
        cached: attach(cached.into()),
        direct: direct.map(|file| attach(file.into())),
        silent: attach(silent.into()),
    };

    let mut done = 0;
    let report = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (stop, io, files, mut random) = (&stop, &io, &files, Random::new(random.below(u64::MAX)));
                scope.spawn(move || live(stop, io, files, pages, ops, &mut random))
            })
            .collect();
        thread::sleep(Duration::from_micros(random.below(20_000)));
        let limit = Duration::from_micros(random.below(3) * random.below(5_000));
        let begun = Instant::now();
        let report = stop.shutdown(Plan::within(limit));
        assert!(begun.elapsed() < limit + GUARD, "the stop is late");
        done = threads.into_iter().map(|thread| thread.join().expect("no thread panicked")).sum();
        report
    });
    drop((io, files));
    // Buffers in flight, and those that some thread of the backend is just giving back.
    let (out, leaked) = (ALIVE.load(Relaxed), report.leaked_operations() + report.leaked_threads());
    assert!(out <= leaked, "{out} buffers are out, and {leaked} operations were reported: {report}");
    // Lets the pool's threads that sit in reads of it go.
    drop(writer);
    until("all buffers are back", || ALIVE.load(Relaxed) == 0);
    done
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + GUARD;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

fn entries(dir: &str) -> usize {
    fs::read_dir(dir).expect("proc").count()
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn storm(backend: Backend) {
    let (mut ops, mut seed) = (25_000, 0x5eed);
    if let Ok(text) = env::var("UNWEDGE_STORM") {
        let mut parts =
            text.split(',').map(|part| part.trim().parse::<u64>().expect("UNWEDGE_STORM=OPERATIONS[,SEED]"));
        ops = parts.next().unwrap_or(ops);
        seed = parts.next().unwrap_or(seed);
    }
    if let Err(error) = Io::builder(&Stop::new("probe")).backend(backend).build() {
        assert_ne!(error.kind(), ErrorKind::InvalidInput);
        return eprintln!("not tested on {backend:?}: {error}");
    }
    let pages = Pages::new(&format!("storm-{backend:?}"), PAGES as usize, PAGE);
    let mut random = Random::new(seed);
    let (mut done, mut lives) = (one_life(backend, &pages.0, OF_A_LIFE, &mut random), 1);
    let calm = |what: &str| {
        let seen = || (entries("/proc/self/fd"), entries("/proc/self/task"));
        let mut last = seen();
        // The threads and descriptors of a life that has ended go within moments.
        until(what, || {
            thread::sleep(Duration::from_millis(20));
            let before = std::mem::replace(&mut last, seen());
            last == before
        });
        last
    };
    let before = calm("the first life is gone");
    let mut resident = 0;
    while done < ops {
        done += one_life(backend, &pages.0, OF_A_LIFE, &mut random);
        lives += 1;
        if resident == 0 && done > ops / 5 {
            resident = resident_kib();
        }
    }
    until("descriptors and threads are as before", || {
        let now = (entries("/proc/self/fd"), entries("/proc/self/task"));
        now.0 <= before.0 && now.1 <= before.1
    });
    let grown = resident_kib().saturating_sub(resident);
    println!(
        "{backend:?}: seed {seed}, {done} operations in {lives} lives, {grown} KiB more than after a fifth of them"
    );
    // AddressSanitizer keeps what was freed for a while.
    assert!(grown < 16 << 10 || env::var_os("ASAN_OPTIONS").is_some(), "the memory grew by {grown} KiB");
}

/// One after the other: descriptors and threads are counted for the process.
#[test]
fn storm_on_both_backends() {
    storm(Backend::Uring);
    storm(Backend::Pool);
}
