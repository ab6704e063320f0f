//! Many lives in one process leave its threads, descriptors and memory as they were, and its signals to whom they belong: no handler is installed. Alone in
//! its file, because it counts what the process has.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use unwedge::{
    Plan, Stop,
    io::{Backend, Io, OpenOptions},
};

const GUARD: Duration = Duration::from_secs(30);

fn count(what: &str) -> usize {
    fs::read_dir(format!("/proc/self/{what}")).expect("proc").count()
}

fn status(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    status.lines().find_map(|line| line.strip_prefix(field)).expect("a line").trim().to_owned()
}

/// Resident memory in KiB.
fn memory() -> usize {
    status("VmRSS:").trim_end_matches(" kB").parse().expect("a number")
}

/// The signals that have a handler, and those that are ignored.
fn handled() -> [String; 2] {
    ["SigCgt:", "SigIgn:"].map(status)
}

fn life(backend: Backend, path: &str, orderly: bool) {
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(backend).build().expect("a backend");
    let until = || Instant::now() + GUARD;
    let file = io.open(path, OpenOptions::new().read(true)).wait_until(until()).expect("a result").expect("opened");
    let read = io.read_at(&file, vec![0; 1 << 16], 0).wait_until(until()).expect("a result").expect("read");
    assert!(!read.is_empty());
    io.run_blocking("job", || ()).wait_until(until()).expect("a result").expect("run");
    drop(file);
    if orderly {
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
    }
}

#[test]
fn lives_leave_nothing() {
    let before = handled();
    let uring = Io::builder(&Stop::new("probe")).backend(Backend::Uring).build().is_ok();
    let backends: &[Backend] = if uring { &[Backend::Uring, Backend::Pool] } else { &[Backend::Pool] };
    for &backend in backends {
        for orderly in [true, false] {
            for _ in 0..20 {
                life(backend, "/proc/self/exe", orderly);
            }
            let (threads, descriptors, before) = (settled("task", usize::MAX), settled("fd", usize::MAX), memory());
            for _ in 0..200 {
                life(backend, "/proc/self/exe", orderly);
            }
            // A thread that has ended is in the list of tasks a moment longer, and the kernel closes a ring in the background.
            assert_eq!(settled("task", threads), threads, "threads, {backend:?}, orderly: {orderly}");
            assert_eq!(settled("fd", descriptors), descriptors, "descriptors, {backend:?}, orderly: {orderly}");
            assert!(
                memory() < before + 4096,
                "memory grew from {before} to {} KiB, {backend:?}, orderly: {orderly}",
                memory()
            );
        }
    }
    assert_eq!(handled(), before, "no signal is the library's");
}

/// The count when it has come down to `goal`, or has not changed for a while, or at last.
fn settled(what: &str, goal: usize) -> usize {
    let until = Instant::now() + if goal == usize::MAX { Duration::from_millis(300) } else { GUARD };
    loop {
        let now = count(what);
        if Instant::now() >= until || (now <= goal && goal != usize::MAX) {
            return now;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
