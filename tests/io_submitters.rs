//! Who submits may end, or block in the kernel for as long as it likes: its reads are right all the same, and come meanwhile.
//!
//! On io_uring the kernel ties work to the thread that submitted it. A thread that submits cold reads to a shared ring and ends has them fail, one that
//! blocks holds up their completion. So only the ring's owner submits, and this is what shows it.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Completion, Plan, Stop,
    io::{Backend, File, Io, IoError},
};

const GUARD: Duration = Duration::from_secs(30);
const PAGE: usize = 4096;
const READS: u64 = 64;
const ROUNDS: usize = 30;

type Reads = Vec<(Completion<Vec<u8>, IoError<Vec<u8>>>, u64)>;

struct Pages(PathBuf);

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A file of pages that begin with their number, on the disk and not in the page cache.
fn cold(path: &Path, pages: u64) -> fs::File {
    if !path.exists() {
        let content: Vec<u8> = (0..pages).flat_map(|n| n.to_le_bytes().into_iter().chain([7; PAGE - 8])).collect();
        fs::write(path, content).expect("a file");
        fs::File::open(path).and_then(|file| file.sync_all()).expect("it is on the disk");
    }
    let file = fs::File::open(path).expect("a file");
    // SAFETY: plain system calls on an open descriptor.
    let dropped = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(dropped, 0);
    // SAFETY: as above. No read-ahead: each read goes to the disk.
    let random = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
    assert_eq!(random, 0);
    file
}

fn submit(io: &Io, file: &File) -> Reads {
    // Every other page, so that none comes along with another.
    (0..READS).map(|n| (io.read_at(file, vec![0; PAGE], 2 * n * PAGE as u64), 2 * n)).collect()
}

fn check(reads: Reads) {
    for (mut read, number) in reads {
        let page =
            read.wait_until(Instant::now() + GUARD).expect("a result, though its submitter is gone").expect("read");
        assert_eq!(page[..8], number.to_le_bytes());
    }
}

/// Has a thread of its own submit and then do `afterwards`; the results must come without it.
fn submitted_elsewhere(backend: Backend, name: &str, afterwards: fn(&mut UnixStream)) {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("submitter-{}-{name}-{backend:?}", std::process::id()));
    let pages = Pages(path);
    let stop = Stop::new("test");
    let io = match Io::builder(&stop).backend(backend).build() {
        Ok(io) => io,
        Err(error) => return eprintln!("not tested on {backend:?}: {error}"),
    };
    for _ in 0..ROUNDS {
        let file = io.attach(cold(&pages.0, 2 * READS), "cold").expect("an open file");
        let (mut mine, mut submitters) = UnixStream::pair().expect("a pair of sockets");
        let (sender, receiver) = mpsc::channel();
        let submitter = {
            let io = io.clone();
            thread::spawn(move || {
                sender.send(submit(&io, &file)).expect("somebody waits");
                drop((io, file));
                afterwards(&mut submitters);
            })
        };
        check(receiver.recv().expect("the submitter submits"));
        // Who has ended does not read it.
        let _ = mine.write_all(&[1]);
        submitter.join().expect("no panic");
    }
    drop(io);
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
}

fn end(_: &mut UnixStream) {}

/// Until all results have come.
fn block_in_the_kernel(submitters: &mut UnixStream) {
    submitters.read_exact(&mut [0]).expect("the results came");
}

macro_rules! on_both {
    ($($name:ident: $afterwards:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $name() {
                super::submitted_elsewhere(super::Backend::Uring, stringify!($name), super::$afterwards)
            })*
        }
        mod pool {
            $(#[test] fn $name() {
                super::submitted_elsewhere(super::Backend::Pool, stringify!($name), super::$afterwards)
            })*
        }
    };
}

on_both!(submitters_that_end: end, submitters_that_block: block_in_the_kernel);
