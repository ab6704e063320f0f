//! A process that forks: what was made before it, and is used in the child.
//!
//! Without a test harness, because a fork is made by the only thread there is, or by one of few that are known. A child says by its status how it went.

#[path = "io/backends.rs"]
mod backends;

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use unwedge::{
    Completion, Monitor, Plan, Stop,
    io::{Backend, File, Io, IoError, OpenOptions},
};

use backends::backends;

const GUARD: Duration = Duration::from_secs(30);
const READ: OpenOptions = OpenOptions::new().read(true);

fn main() {
    a_daemon_goes_into_the_background();
    for backend in backends() {
        an_io_belongs_to_its_process(backend);
    }
    a_stop_with_threads_does_not_hang_in_the_child();
    println!("io_fork: ok");
}

/// Runs this in a child, which must end by itself.
fn in_a_child(what: &str, child: impl FnOnce()) {
    std::io::stdout().flush().expect("flushed");
    // SAFETY: the child runs on with what the forking thread has. The other threads of this process are idle threads of a service, or were joined: none
    // is in the C library's allocator, and the child takes none of their locks (which is what is tested).
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let went_well = catch_unwind(AssertUnwindSafe(child)).is_ok();
        // SAFETY: ends the process; nothing of it runs afterwards.
        unsafe { libc::_exit(i32::from(!went_well)) };
    }
    let until = Instant::now() + GUARD;
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for writing, and the child is this process's.
        let ended = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        if ended == pid {
            break;
        }
        if Instant::now() > until {
            // SAFETY: the child was not waited for, so its number is no other's.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            panic!("{what}: the child hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{what}: status {status:#x}");
    println!("io_fork: {what}: ok");
}

fn get<T, E: From<unwedge::Abandoned>>(mut completion: Completion<T, E>) -> Result<T, E> {
    completion.wait_until(Instant::now() + GUARD).expect("a result")
}

/// A stop domain, and a monitor, are made before the fork; all else after it.
fn a_daemon_goes_into_the_background() {
    let stop = Stop::new("mds.a");
    let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
    in_a_child("a stop made before the fork", || {
        let io = Io::new(&stop).expect("a backend");
        let file = get(io.open("/proc/self/status", READ)).expect("opened");
        let lock = Arc::clone(&mds);
        let (_kept, mut never) = Completion::<u32>::new("never", &stop);
        let waiter = stop.spawn("waiter", move || lock.lock().map(|guard| guard.wait_for(&mut never).is_err()));
        assert!(waiter.is_ok());
        *mds.lock().expect("free") += get(io.read_at(&file, vec![0; 100], 0)).expect("read").len();
        assert_eq!(get(io.run_blocking("job", || 7)), Ok(7));
        drop((file, io));
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
    });
    assert!(!stop.is_requested(), "the parent's is its own");
}

fn an_io_belongs_to_its_process(backend: Backend) {
    let stop = Stop::new("mds.a");
    let limit = Duration::from_secs(60);
    let io = Io::builder(&stop).backend(backend).deadline(limit).build().expect("a backend");
    let file = get(io.open("/proc/self/status", READ)).expect("opened");
    get(io.run_blocking("job", || ())).expect("run");
    in_a_child("an Io made before the fork", || {
        let told = |error: Option<IoError>| {
            let error = error.expect("an error");
            assert!(error.is_forked() && !error.is_closed(), "{error}");
            assert!(error.to_string().ends_with("the I/O service belongs to the process before the fork"), "{error}");
        };
        told(get(io.open("/proc/self/status", READ)).err());
        let error = get(io.read_at(&file, vec![1; 3], 0)).expect_err("forked");
        assert!(error.is_forked() && error.into_buffer() == Some(vec![1; 3]));
        told(get(io.read_exact_at(&file, vec![1; 3], 0)).err().map(IoError::without_buffer));
        told(get(io.read_ranges(&file, vec![(0, vec![1; 3])])).err().map(IoError::without_buffer));
        told(get(io.write_at(&file, *b"x", 0)).err().map(IoError::without_buffer));
        told(get(io.fsync(&file)).err());
        told(get(io.stat("/")).err());
        told(get(io.stat_many(["/"])).err());
        told(get(io.rename("/a", "/b")).err());
        told(io.read_dir("/").wait().expect("not stopped").err());
        assert!(get(io.run_blocking("job", || 7)).is_err());
        let (completer, answer) = io.external::<u32, unwedge::Abandoned>("osd_op");
        assert!(!completer.is_wanted() && answer.cancel().is_some_and(|answer| answer.is_err()));
        drop(completer);
        let metrics = io.metrics();
        assert_eq!((metrics.backend(), metrics.pool_threads()), (io.backend(), 0));
        // What goes away here goes away without anybody's help; and a new life is as good as any.
        drop(File::clone(&file));
        drop((file.clone(), io.clone()));
        let next = Stop::new("mds.b");
        let own = Io::builder(&next).backend(backend).build().expect("a backend");
        let file = get(own.open("/proc/self/status", READ)).expect("opened");
        assert!(get(own.read_at(&file, vec![0; 100], 0)).is_ok_and(|read| !read.is_empty()));
        drop(file);
        let report = next.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        let begun = Instant::now();
        let report = stop.shutdown(Plan::within(Duration::from_secs(20)));
        assert!(report.is_clean() && begun.elapsed() < Duration::from_secs(20), "{report}");
    });
    // The parent goes on.
    assert!(get(io.read_at(&file, vec![0; 100], 0)).is_ok_and(|read| !read.is_empty()));
    drop((file, io));
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
}

/// Its threads are not in the child: a shutdown there says who is missing when its time is up.
fn a_stop_with_threads_does_not_hang_in_the_child() {
    let stop = Stop::new("mds.a");
    let until = stop.clone();
    stop.spawn("sleeper", move || until.wait_timeout(GUARD)).expect("a thread");
    in_a_child("a stop with threads", || {
        let report = stop.shutdown(Plan::within(Duration::from_millis(100)));
        assert!(!report.is_clean() && report.to_string().contains("sleeper"), "{report}");
    });
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
}
