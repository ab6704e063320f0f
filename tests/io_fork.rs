//! A process that forks: what was made before it, and is used in the child.
//!
//! Without a test harness, because a fork is made by the only thread there is, or by one of few that are known. A child says by its status how it went.

#[path = "io/backends.rs"]
mod backends;
#[path = "io/lingering.rs"]
mod lingering;

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use unwedge::{
    Completion, Condvar, Monitor, Plan, Stop, Stopped,
    io::{Backend, File, Io, IoError, OpenOptions},
};

use backends::backends;
use lingering::lingering;

const GUARD: Duration = Duration::from_secs(30);
const READ: OpenOptions = OpenOptions::new().read(true);

fn main() {
    a_daemon_goes_into_the_background();
    for backend in backends() {
        an_io_belongs_to_its_process(backend);
    }
    a_child_closes_what_it_drops_after_its_shutdown();
    a_stop_with_threads_does_not_hang_in_the_child();
    every_kind_of_wait_works_in_the_child();
    a_fork_beside_threads_that_begin_and_end_lives();
    a_fork_beside_threads_that_open_lives();
    println!("io_fork: ok");
}

/// Runs this in a child, which must end by itself.
fn in_a_child(what: &str, child: impl FnOnce()) {
    // The other threads of this process are idle threads of a service, or were joined.
    in_a_child_beside_others(child).unwrap_or_else(|how| panic!("{what}: {how}"));
    println!("io_fork: {what}: ok");
}

/// As [`in_a_child`], while other threads run. `Err`: how it went wrong.
fn in_a_child_beside_others(child: impl FnOnce()) -> Result<(), String> {
    std::io::stdout().flush().expect("flushed");
    // SAFETY: the child runs on with what the forking thread has. No other thread has the lock of standard output, the C library sees to its allocator, and
    // other locks of theirs the child does not take (which is what is tested).
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
            return Err("the child hangs".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let ended_well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    if ended_well { Ok(()) } else { Err(format!("status {status:#x}")) }
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

/// The thread that closes what is dropped after a shutdown is the parent's, and so is what it has not come to.
fn a_child_closes_what_it_drops_after_its_shutdown() {
    let over = |file: std::os::fd::OwnedFd| {
        let stop = Stop::new("mds.a");
        let io = Io::builder(&stop).backend(Backend::Pool).build().expect("a backend");
        let file = io.attach(file, "a file").expect("attached");
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
        file
    };
    let [(hangs, peer), (waits, other_peer)] = [(); 2].map(|()| lingering());
    let [hangs, waits] = [hangs, waits].map(|socket| over(socket.into()));
    drop(hangs);
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("proc").flatten();
        let of = |task: &std::path::Path, what| std::fs::read_to_string(task.join(what)).unwrap_or_default();
        let closers = tasks.map(|task| task.path()).filter(|task| of(task, "comm") == "uw-close\n");
        closers.map(|task| of(&task, "syscall")).collect::<Vec<_>>()
    };
    // Until that thread is in the close.
    let until = Instant::now() + GUARD;
    while !threads().iter().any(|call| call.starts_with(&format!("{} ", libc::SYS_close))) {
        assert!(Instant::now() < until, "the close hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(waits);
    // Another one would have its name by then.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(threads().len(), 1, "one for all");
    in_a_child("a file that is dropped after a shutdown", || {
        let (out, into) = rustix::pipe::pipe().expect("a pipe");
        drop(over(into));
        assert_eq!(rustix::io::read(&out, &mut [0_u8]), Ok(0), "closed");
    });
    drop((peer, other_peer));
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

/// Whatever a thread can wait for, in a domain from before the fork: each ends by its event, by its deadline and by a stop.
fn every_kind_of_wait_works_in_the_child() {
    let stop = Stop::new("mds.a");
    let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0_u32), &stop));
    let changed = Arc::new(Condvar::new());
    in_a_child("every kind of wait", || {
        let soon = || Instant::now() + Duration::from_millis(1);
        assert!(!stop.wait_timeout(Duration::from_millis(1)));
        // A lock that another thread holds, a condition variable, a closure.
        let (held, signals) = (mds.clone(), changed.clone());
        let guard = mds.lock().expect("not stopped");
        let other = stop.spawn("other", move || {
            let mut value = held.lock()?;
            *value += 1;
            signals.notify_one();
            Ok::<_, Stopped>(())
        });
        let other = other.expect("a thread");
        let guard = guard.wait_while(&changed, |value| *value == 0).expect("not stopped");
        let late = guard.wait_until(&changed, soon()).expect("not stopped");
        assert!(late.timed_out);
        drop(late);
        other.join().expect("it ends").expect("not stopped");
        assert_eq!(mds.when(|value| (*value == 1).then_some(7)), Ok(7));
        // A result: of a thread, in time, too late, with a callback.
        let (completer, mut read) = Completion::<u32>::new("read", &stop);
        assert!(read.wait_until(soon()).is_err());
        let storage = stop.spawn("storage", move || completer.complete(7).is_ok()).expect("a thread");
        assert_eq!(read.wait(), Ok(Ok(7)));
        assert!(storage.join().expect("it ends"));
        let (told, tells) = std::sync::mpsc::channel();
        let (completer, ack) = Completion::<u32>::new("ack", &stop);
        ack.on_complete(&stop, move |result| told.send(result.is_ok()).unwrap_or(())).expect("a thread");
        completer.complete(1).expect("wanted");
        assert_eq!(tells.recv_timeout(GUARD), Ok(true));
        // And each of them is stopped, in a child of the domain as in the domain itself.
        let rank = stop.child("rank.0");
        let (_never, mut frozen) = Completion::<u32>::new("frozen", &rank);
        let (own, sleeps) = (mds.clone(), rank.clone());
        let begun = [
            rank.spawn("reads", move || frozen.wait().is_err()),
            rank.spawn("sleeps", move || sleeps.wait_timeout(GUARD)),
            stop.spawn("waits", move || own.lock().is_ok_and(|guard| guard.wait(&changed).is_err())),
        ];
        assert!(begun.iter().all(Result::is_ok));
        assert!(rank.shutdown(Plan::within(GUARD)).is_clean());
        let saved = mds.clone();
        let plan = Plan::within(GUARD).phase("save", GUARD, move |phase| {
            *saved.lock_in(phase)? += 1;
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        assert!(mds.lock().is_err(), "stopped");
    });
    assert_eq!(*mds.lock().expect("the parent's is its own"), 0);
}

/// What a fork copies in the middle of a step is not locked in the child, whose threads are not those that would unlock it.
fn a_fork_beside_threads_that_begin_and_end_lives() {
    let parent = Stop::new("parent");
    for _ in 0..2 {
        let own = parent.clone();
        let lives = move || {
            while !own.is_requested() {
                let _lives = [(); 8].map(|()| Stop::new("a life"));
            }
        };
        parent.spawn("lives", lives).expect("a thread");
    }
    for _ in 0..100 {
        let went = in_a_child_beside_others(|| {
            let lives: Vec<_> = (0..100).map(|_| Stop::new("in the child")).collect();
            assert!(lives.iter().all(|stop| !stop.wait_timeout(Duration::from_nanos(1)) && stop.request("over")));
        });
        went.unwrap_or_else(|how| panic!("beside threads: {how}"));
    }
    let report = parent.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
    println!("io_fork: forks beside threads: ok");
}

/// The same of I/O: an `Io` of the child's own works, whatever the parent's threads were about.
///
/// But for one thing, which is std's: none of them may be starting or ending. std has a table of its threads' stacks, and locks it then; in a child that was
/// copied meanwhile no thread gets past its start. So the parent's threads here are the same all the time.
fn a_fork_beside_threads_that_open_lives() {
    let parent = Stop::new("parent");
    let io = Io::builder(&parent).threads(2).build().expect("a backend");
    for _ in 0..2 {
        let (own, io) = (parent.clone(), io.clone());
        let opens = move || {
            while !own.is_requested() {
                // Where the file is, is asked of the process's table of mounts.
                drop(io.open("/proc/self", READ).wait());
            }
        };
        parent.spawn("opens", opens).expect("a thread");
    }
    // Until the service has all its threads.
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..300 {
        let went = in_a_child_beside_others(|| {
            let stop = Stop::new("in the child");
            let io = Io::builder(&stop).backend(Backend::Pool).build().expect("a backend");
            let file = get(io.open("/proc/self", READ)).expect("opened");
            assert!(get(io.stat_many(["/", "/proc"])).is_ok());
            let report = stop.shutdown(Plan::within(GUARD));
            assert!(report.is_clean(), "{report}");
            drop(file);
            assert!(io.open("/proc/self", READ).wait().is_err());
        });
        went.unwrap_or_else(|how| panic!("beside threads that open: {how}"));
    }
    let report = parent.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
    println!("io_fork: forks beside threads that open: ok");
}
