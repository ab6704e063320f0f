//! What a shutdown owes to others that run at the same time, to who calls it, and to threads that do not get past their end.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use unwedge::io::Io;
use unwedge::{Abandoned, Completion, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, waits_of};

/// What makes a stuck one go on.
fn gate() -> (Sender<()>, Receiver<()>) {
    mpsc::channel()
}

/// Whether this member of `watched` waits in a shutdown: where nobody is to be waited for but the other one.
fn waits_for_the_other(watched: &Stop, name: &str) -> bool {
    waits_of(watched, name).iter().any(|wait| wait.what == "threads and tasks to end")
}

/// Two shutdowns of `stop`, one of which is held up by what `release` lets go on. The other one waits for that.
fn the_other_waits(stop: &Stop, release: Sender<()>) {
    let watched = Stop::new("the test");
    let both = ["one", "two"].map(|name| {
        let own = stop.clone();
        watched.spawn(name, move || own.shutdown(Plan::within(GUARD))).expect("a thread")
    });
    until("one waits", || ["one", "two"].iter().any(|name| waits_for_the_other(&watched, name)));
    // One that has no time says that it is not clean.
    let report = stop.shutdown(Plan::within(Duration::ZERO));
    assert!(!report.is_clean() && report.closing() == 1, "{report}");
    assert!(report.to_string().contains("still being closed by another shutdown: 1 domains"), "{report}");
    assert!(both.iter().all(|one| !one.is_finished()));
    release.send(()).expect("it waits");
    for one in both {
        let report = one.join().expect("no panic");
        assert!(report.is_clean(), "{report}");
    }
    assert!(watched.shutdown(Plan::within(GUARD)).is_clean());
}

#[test]
fn a_shutdown_waits_for_the_i_o_that_another_one_closes() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("a backend");
        let (release, released) = gate();
        let (began, begun) = mpsc::channel();
        let job = io.run_blocking("job", move || {
            began.send(()).expect("the test waits");
            released.recv().is_ok()
        });
        begun.recv_timeout(GUARD).expect("it runs");
        drop(job);
        the_other_waits(&stop, release);
    });
}

/// A callback that shuts its own domain down, or a blocking job that does, does not wait for a shutdown that waits for it.
#[test]
fn a_job_that_shuts_down_does_not_wait_for_who_waits_for_it() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("a backend");
        let (release, released) = gate();
        let (began, begun) = mpsc::channel();
        let own = stop.clone();
        let (told, tell) = mpsc::channel();
        let job = io.run_blocking("job", move || {
            began.send(()).expect("the test waits");
            released.recv().ok();
            told.send(own.shutdown(Plan::within(GUARD)).is_clean()).expect("the test waits");
        });
        begun.recv_timeout(GUARD).expect("it runs");
        drop(job);
        let watched = Stop::new("the test");
        let (first, second) = (stop.clone(), stop.clone());
        let first = watched.spawn("one", move || first.shutdown(Plan::within(GUARD))).expect("a thread");
        let second = watched.spawn("two", move || second.shutdown(Plan::within(GUARD))).expect("a thread");
        until("one waits", || ["one", "two"].iter().any(|name| waits_for_the_other(&watched, name)));
        release.send(()).expect("it waits");
        assert_eq!(tell.recv_timeout(GUARD), Ok(true));
        assert!(first.join().expect("no panic").is_clean() && second.join().expect("no panic").is_clean());
    });
}

#[test]
fn a_shutdown_waits_for_the_callback_that_another_one_waits_for() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (completer, completion) = Completion::<u8>::new("value", &stop);
        let (release, released) = gate();
        completion.on_complete(&stop, move |_| assert!(released.recv().is_ok())).expect("a thread");
        completer.complete(1).expect("wanted");
        the_other_waits(&stop, release);
    });
}

thread_local! {
    /// Waits in its destructor.
    static LAST: std::cell::RefCell<Option<Blocks>> = const { std::cell::RefCell::new(None) };
}

struct Blocks(Receiver<()>);

impl Drop for Blocks {
    fn drop(&mut self) {
        self.0.recv().ok();
    }
}

/// It has given its result, and does not get past the destructor of a thread-local: it holds up no spawn, and is counted.
#[test]
fn a_thread_that_hangs_at_its_end_is_counted_and_holds_up_no_spawn() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (release, released) = gate();
        let stuck = stop.spawn("stuck", move || LAST.set(Some(Blocks(released)))).expect("a thread");
        stuck.join().expect("it gave its result");
        until("it is no member", || stop.report().members().is_empty());
        for _ in 0..100 {
            stop.spawn("other", || {}).expect("a thread").join().expect("it ends");
        }
        until("they are no members", || stop.report().members().is_empty());
        let report = stop.shutdown(Plan::within(Duration::ZERO));
        assert!(!report.is_clean());
        assert_eq!((report.members().len(), report.leaked_threads()), (0, 1), "{report}");
        let report = stop.shutdown(Plan::within(Duration::ZERO));
        assert_eq!(report.leaked_threads(), 1, "what an earlier one had to leave counts: {report}");
        release.send(()).expect("it waits");
    });
}

/// A task that drops the future of its shutdown is a member like any other, and nobody who gets its number afterwards is taken for it.
#[test]
fn a_dropped_shutdown_waits_for_who_dropped_it() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (_spawned, task) = stop.track("admin", {
            let own = stop.clone();
            async move {
                drop(own.shutdown_async(Plan::within(GUARD)));
                std::future::pending::<()>().await;
            }
        });
        let mut task = Box::pin(task);
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let report = stop.shutdown(Plan::within(Duration::from_millis(50)));
        assert_eq!(report.members().len(), 1, "{report}");
        assert_eq!(report.members()[0].name, "admin");
        drop(task);
        until("it is no member", || stop.report().members().is_empty());
        // The slot of the task is free now; who gets it is waited for.
        let (release, released) = gate();
        let late = stop.spawn("late", move || released.recv().is_ok()).expect("a thread");
        let report = stop.shutdown(Plan::within(Duration::from_millis(50)));
        assert_eq!(report.members().len(), 1, "{report}");
        release.send(()).expect("it waits");
        drop(late);
        until("it has ended", || stop.report().members().is_empty());
    });
}

/// Two shutdowns that one task has begun: it is passed over until both are done.
#[test]
fn two_shutdowns_of_one_task_wait_for_neither() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (release, released) = gate();
        let stuck = stop.spawn("stuck", move || released.recv().is_ok()).expect("a thread");
        let own = stop.clone();
        let (told, tell) = mpsc::channel();
        let (_spawned, task) = stop.track("admin", async move {
            let first = own.shutdown_async(Plan::within(Duration::from_millis(1)));
            let second = own.shutdown_async(Plan::within(GUARD));
            let late = first.await;
            release.send(()).expect("it waits");
            told.send((late.is_clean(), second.await.is_clean())).expect("the test waits");
        });
        block_on(task);
        assert_eq!(tell.recv_timeout(GUARD), Ok((false, true)));
        drop(stuck);
    });
}

/// Polls on this thread until it is ready.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Panics when it is made of an abandoned result.
#[derive(Debug)]
struct Sulks;

impl From<Abandoned> for Sulks {
    fn from(_: Abandoned) -> Self {
        std::panic::resume_unwind(Box::new("it cannot be made"));
    }
}

/// The panic is the waiter's, in each form of a wait; who drops the completer has none, and nobody sleeps on.
#[test]
fn a_conversion_that_panics_does_so_in_the_waiter() {
    guarded(|| {
        let (stop, apart) = (Stop::new("mds.a"), Stop::new("the test"));
        let pair = || Completion::<u8, Sulks>::new("value", &apart);
        for early in [true, false] {
            let (completer, mut completion) = pair();
            let mut completer = Some(completer);
            if early {
                completer = None;
            }
            let waiter = stop.spawn("waiter", move || completion.wait().is_ok()).expect("a thread");
            if !early {
                until("it waits", || waits_of(&stop, "waiter").iter().any(|wait| wait.what == "value"));
            }
            drop(completer);
            assert!(waiter.join().expect_err("it panicked").is_panicked());
        }
        let (completer, completion) = pair();
        drop(completer);
        let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| completion.cancel()));
        assert!(taken.is_err(), "who takes the result makes the error");
        let (completer, completion) = pair();
        drop(completion);
        drop(completer);
        let (completer, completion) = pair();
        let ran = Arc::new(Mutex::new(false));
        let seen = ran.clone();
        completion.on_complete(&stop, move |_| *seen.lock().expect("no panic") = true).expect("a thread");
        drop(completer);
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean(), "the callback is not left");
        assert!(!*ran.lock().expect("no panic"), "there was nothing to call it with");
    });
}
