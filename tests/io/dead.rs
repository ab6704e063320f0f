//! Storage that does not answer beside storage that does: who waits for the one keeps nobody from the other.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use unwedge::{
    Plan, Stop,
    io::{Backend, Io, OpenOptions},
};

use super::help::{Dir, GUARD, READ, end, get, leaked, start, until};

/// More than the depth of the ring in [`a_dead_file_leaves_room_for_others`], and than what one device may have of the pool's threads.
const READS: usize = 100;

/// As many reads as there are permits and more hang on a socket: files elsewhere are opened, written, read and looked at all the same.
pub fn a_dead_file_leaves_room_for_others(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = Io::builder(&stop).backend(backend).depth(8).threads(2).build().expect("a backend");
    let (mut writer, reader) = UnixStream::pair().expect("a pair of sockets");
    let dead = io.attach(reader, "dead").expect("an open file");
    let hung: Vec<_> = (0..READS).map(|_| io.read_at(&dead, vec![0; 1], 0)).collect();

    let path = dir.0.join("object");
    let new = OpenOptions::new().read(true).write(true).create(true);
    for round in 0..3 {
        let file = get(io.open(&path, new)).expect("opened");
        get(io.write_at(&file, b"alive".to_vec(), round)).expect("written");
        get(io.fsync(&file)).expect("synced");
        assert_eq!(get(io.read_at(&file, vec![0; 9], round)).expect("read"), b"alive");
        assert_eq!(get(io.stat(&path)).expect("there").len(), 5 + round);
    }
    assert!(hung.iter().all(|read| !read.is_complete()), "nothing was sent");

    // In the order in which they were begun or not, each gets a byte.
    writer.write_all(&[7; READS]).expect("sent");
    for read in hung {
        assert_eq!(get(read).expect("read"), [7]);
    }
    drop(dead);
    end(&stop);
}

/// A write that nobody takes is never cancelled: a shutdown waits for it, until it is hurried, and tells its memory. What waits behind it is refused.
pub fn a_hurry_leaves_what_hangs(backend: Backend) {
    const LEN: usize = 4 << 20;
    let (stop, phase) = (Stop::new("test"), Stop::new("phase"));
    let io = Io::builder(&stop).backend(backend).depth(1).threads(1).build().expect("a backend");
    let (mut reader, writer) = UnixStream::pair().expect("a pair of sockets");
    let dead = io.attach(writer, "dead").expect("an open file");
    let hangs = io.write_at(&dead, vec![7; LEN], 0);
    let saving = io.with(&phase);
    // The ring has permits for one; the pool has threads for as many as hang.
    let waits = (io.backend() == "uring").then(|| saving.write_at(&dead, *b"waits", 0));
    // It has begun.
    let mut first = [0];
    reader.read_exact(&mut first).expect("sent");
    let shutdown = thread::spawn({
        let stop = stop.clone();
        move || stop.shutdown(Plan::within(Duration::from_secs(3600)))
    });
    if let Some(waits) = waits {
        let error = get(waits).expect_err("refused");
        assert!(error.is_closed() && error.into_buffer() == Some(*b"waits"));
    }
    until("the shutdown runs", || stop.is_requested());
    assert!(!shutdown.is_finished());
    stop.hurry("test");
    let report = shutdown.join().expect("ended");
    assert_eq!(leaked(&report), (1, LEN, 1), "{report}");
    // It ends late, and is freed then.
    reader.read_exact(&mut vec![0; LEN - 1]).expect("sent");
    until("it has ended", || io.metrics().in_flight() == 0);
    drop((hangs, dead));
}

/// The open of a FIFO that nobody writes to: the kernel ends it where it can be cancelled, so nothing is left.
pub fn an_open_that_hangs_is_cancelled(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let (fifo, uring) = (dir.fifo(), io.backend() == "uring");
    let hangs = io.open(&fifo, READ);
    until("it has begun", || io.metrics().in_flight() == 1);
    let report = stop.shutdown(Plan::within(if uring { GUARD } else { Duration::from_millis(50) }));
    if uring {
        assert!(report.is_clean(), "{report}");
    } else {
        assert!(leaked(&report).2 <= 1, "{report}");
        // Lets the thread go.
        drop(std::fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("opened"));
    }
    drop(hangs);
}

/// More hangs on a file system than the pool has threads for: what waits behind it is refused by a shutdown, and says so. (The ring has other permits.)
pub fn what_waits_is_refused(backend: Backend) {
    let (stop, phase, dir) = (Stop::new("test"), Stop::new("phase"), Dir::new());
    let io = start(backend, &stop);
    if io.backend() == "uring" {
        return end(&stop);
    }
    let path = dir.file("object", b"content");
    let file = get(io.open(&path, READ.write(true))).expect("opened");
    let fifo = get(io.open(dir.fifo(), READ.write(true))).expect("opened");
    let hung: Vec<_> = (0..READS).map(|_| io.read_at(&fifo, vec![0; 1], 0)).collect();
    let saving = io.with(&phase);
    let (stat, write, sync) = (saving.stat(&path), saving.write_at(&file, *b"CON", 0), saving.fsync(&file));
    drop(file);
    drop(stop.shutdown(Plan::within(Duration::ZERO)));
    assert!(get(stat).expect_err("refused").is_closed());
    assert!(get(sync).expect_err("refused").is_closed());
    let error = get(write).expect_err("refused");
    assert!(error.is_closed() && error.into_buffer() == Some(*b"CON"));
    assert_eq!(std::fs::read(&path).expect("there"), b"content");
    // Lets the threads go that have begun.
    rustix::io::write(&fifo, &[0; READS]).expect("written");
    until("they have ended", || io.metrics().in_flight() == 0);
    drop((hung, fifo));
}

/// What a job that was not begun has is dropped by the shutdown that refuses it: where that blocks (a file on a dead mount), a thread is left, and not the
/// one who stops.
pub fn what_is_refused_may_block(backend: Backend) {
    struct Blocks(Receiver<()>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            // Until the other end has gone.
            let _ = self.0.recv();
        }
    }
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(backend).threads(1).build().expect("a backend");
    let (go, gone) = channel();
    let gate = Arc::new(Mutex::new(Blocks(gone)));
    let hang = || {
        let gate = gate.clone();
        io.run_blocking("hangs", move || drop(gate.lock().map(|gate| gate.0.recv())))
    };
    // More than may hang at a time, and then one more. One hangs: else what is refused is all that there is.
    let hung: Vec<_> = (0..READS).map(|_| hang()).collect();
    until("one has begun", || gate.try_lock().is_err());
    let (go_on, waits) = channel();
    let blocks = Blocks(waits);
    let refused = io.run_blocking("is refused", move || drop(blocks));
    let shutdown = thread::spawn({
        let stop = stop.clone();
        move || stop.shutdown(Plan::within(Duration::from_millis(50)))
    });
    until("the shutdown has ended", || shutdown.is_finished());
    let report = shutdown.join().expect("it does not panic");
    assert!(!report.is_clean() && leaked(&report).2 > 1, "{report}");
    drop((go, go_on));
    until("they have ended", || io.metrics().in_flight() == 0);
    drop((hung, refused));
}
