//! Reasons, children, and the threads and tasks of a domain.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use unwedge::{Completion, JoinError, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::until;

#[test]
fn the_first_reason_stays_and_goes_down_the_tree() {
    let stop = Stop::new("mds.a");
    let child = stop.child("replay");
    let grandchild = child.child("journal");
    assert_eq!((stop.name(), child.name(), grandchild.name()), ("mds.a", "replay", "journal"));
    assert_eq!(stop.reason(), None);
    child.request("fenced");
    assert!(child.is_requested() && grandchild.is_requested() && !stop.is_requested());
    stop.request("SIGTERM");
    assert_eq!(stop.reason().as_deref(), Some("SIGTERM"));
    assert_eq!(child.reason().as_deref(), Some("fenced"));
    assert_eq!(grandchild.reason().as_deref(), Some("fenced"));
    let late = grandchild.child("late");
    assert_eq!(late.reason().as_deref(), Some("fenced"));
    assert!(format!("{late:?}").contains("late"));
    assert_eq!(stop.report().reason(), Some("SIGTERM"));
}

#[test]
fn a_clone_is_the_same_domain_and_a_child_keeps_its_parent() {
    let stop = Stop::new("mds.a");
    let clone = stop.clone();
    let child = stop.child("child");
    drop(stop);
    assert!(!clone.is_requested(), "a handle is left");
    drop(clone);
    assert!(!child.is_requested(), "the child keeps its parent");
    let grandchild = child.child("grandchild");
    drop(child);
    assert!(!grandchild.is_requested());
}

thread_local! {
    /// Dropped with the thread.
    static KEPT: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) };
}

#[test]
fn the_last_handle_stops_the_domain() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (_completer, completion) = Completion::<u8>::new("never", &stop);
        let (ended, end) = mpsc::channel();
        let (kept, gone) = mpsc::channel();
        completion
            .on_complete(&stop, move |result| {
                KEPT.set(Some(kept));
                ended.send(result.is_err()).expect("the test waits");
            })
            .expect("a thread");
        drop(stop);
        assert_eq!(end.recv_timeout(GUARD), Ok(true), "the callback has run, with the stop");
        assert_eq!(gone.recv_timeout(GUARD), Err(mpsc::RecvTimeoutError::Disconnected), "its thread has ended");
    });
}

#[test]
fn a_member_keeps_its_domain() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (go, gone) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        let own = stop.clone();
        drop(stop.spawn("member", move || {
            gone.recv().ok();
            ended.send(own.is_requested()).ok();
        }));
        drop(stop);
        go.send(()).expect("it waits");
        assert_eq!(end.recv_timeout(GUARD), Ok(false));
    });
}

#[test]
fn results_panics_and_names_come_back() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let seven = stop.spawn("a long name of a thread", || 7).expect("a thread");
        assert_eq!(seven.name(), "a long name of a thread");
        assert!(format!("{seven:?}").contains("a long name of a thread"));
        assert_eq!(seven.join().ok(), Some(7));
        let panics = stop.spawn("panics", || -> u32 { panic!("on purpose") }).expect("a thread");
        match panics.join() {
            Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref::<&str>(), Some(&"on purpose")),
            other => panic!("{other:?}"),
        }
        assert!(stop.spawn("with a \0 in it", || ()).expect("a thread").join().is_ok());
        assert!(stop.spawn("", || ()).expect("a thread").join().is_ok());
        until("they have ended", || stop.report().members().is_empty());
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "a panic is no blemish of the stop");
        assert_eq!(report.panicked(), ["panics"]);
        assert!(report.to_string().contains("panicked: panics"));
    });
}

/// More names than are kept to be shared, each several times.
#[test]
fn each_member_has_the_name_that_it_was_given() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        for round in 0..3 {
            for number in 0..=round * 4 {
                let name = format!("worker-{number}");
                let worker = stop.spawn(&name, || ()).expect("a thread");
                assert_eq!(worker.name(), name);
            }
        }
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn an_error_of_a_join_says_what_it_is() {
    for (error, text) in [
        (JoinError::Stopped, "stopped"),
        (JoinError::Itself, "its own end"),
        (JoinError::Aborted, "dropped"),
        (JoinError::Panicked(Box::new(())), "panicked"),
    ] {
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.is_stopped(), matches!(error, JoinError::Stopped));
        assert_eq!(error.is_panicked(), matches!(error, JoinError::Panicked(_)));
    }
}

#[test]
fn a_member_that_nobody_asks_for_is_waited_for_all_the_same() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let ended = Arc::new(AtomicUsize::new(0));
        for part in [stop.clone(), stop.child("a"), stop.child("b").child("c")] {
            let (own, ended) = (part.clone(), ended.clone());
            drop(part.spawn("detached", move || {
                own.wait_timeout(Duration::MAX);
                // A member may start another, in any part.
                let again = ended.clone();
                let other = own.child("born stopped");
                drop(other.spawn("last", move || again.fetch_add(1, SeqCst)));
                ended.fetch_add(1, SeqCst);
            }));
        }
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        assert_eq!(ended.load(SeqCst), 6);
    });
}

#[test]
fn a_tracked_future_runs_on_any_executor() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (spawned, future) = stop.track("tracked", async { 5 });
        let mut future = Box::pin(future);
        assert_eq!(stop.report().members()[0].name, "tracked");
        assert!(stop.report().members()[0].is_task);
        let mut context = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut context).is_ready());
        assert!(stop.report().members().is_empty(), "it has ended, though it is not dropped");
        assert_eq!(spawned.join().ok(), Some(5));
        assert!(future.as_mut().poll(&mut context).is_ready());

        let (spawned, future) = stop.track("dropped", std::future::pending::<()>());
        drop(future);
        assert!(stop.report().members().is_empty());
        assert!(matches!(spawned.join(), Err(JoinError::Aborted)));

        let (spawned, future) = stop.track("panics", async { panic!("on purpose") });
        let mut future = Box::pin(future);
        assert!(matches!(future.as_mut().poll(&mut context), Poll::Ready(())), "the executor does not see the panic");
        assert!(spawned.join().is_err_and(|error| error.is_panicked()));
        assert_eq!(stop.report().panicked(), ["panics"]);
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn the_hook_runs_first_on_every_thread_of_the_domain_and_of_its_children() {
    guarded(|| {
        let (told, names) = mpsc::channel();
        let stop = Stop::builder("mds.a")
            .on_thread_start(move |name| drop(told.send((name.to_owned(), std::thread::current().id()))))
            .build();
        let id = stop.spawn("one", || std::thread::current().id()).expect("a thread").join().expect("no panic");
        assert_eq!(names.recv_timeout(GUARD), Ok(("one".to_owned(), id)));
        stop.child("child").spawn("two", || ()).expect("a thread").join().expect("no panic");
        assert_eq!(names.recv_timeout(GUARD).map(|told| told.0).as_deref(), Ok("two"));
        let (completer, completion) = Completion::<u8>::new("value", &stop);
        completion.on_complete(&stop, |_| ()).expect("a thread");
        completer.complete(1).expect("wanted");
        assert_eq!(names.recv_timeout(GUARD).map(|told| told.0).as_deref(), Ok("uw-callback"));
        let io = unwedge::io::Io::builder(&stop).backend(unwedge::io::Backend::Pool).build().expect("I/O");
        let on = io.run_blocking("job", || std::thread::current().id()).wait().expect("no stop").expect("it ran");
        assert!(names.iter().any(|told| told.1 == on), "on the pool's threads too");
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn a_hook_that_panics_is_the_thread_s_panic() {
    guarded(|| {
        let stop = Stop::builder("mds.a").on_thread_start(|_| panic!("on purpose")).build();
        assert!(stop.spawn("one", || ()).expect("a thread").join().is_err_and(|error| error.is_panicked()));
        assert_eq!(stop.shutdown(Plan::within(GUARD)).panicked(), ["one"]);
    });
}

#[cfg(feature = "tokio")]
#[test]
fn tasks_are_members_and_late_ones_are_dropped() {
    guarded(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        let stop = Stop::new("mds.a");
        let _in_runtime = runtime.enter();
        assert_eq!(runtime.block_on(stop.spawn_task("seven", async { 7 })).ok(), Some(7));
        let panics = runtime.block_on(stop.spawn_task("panics", async { panic!("on purpose") }));
        assert!(panics.is_err_and(|error| error.is_panicked()));
        // A thread may wait for a task, and a task for a thread.
        let task = stop.spawn_task("eight", async { 8 });
        let thread = stop.spawn("waits", move || task.join()).expect("a thread");
        let task = stop.spawn_task("waits", thread);
        assert!(matches!(task.join(), Ok(Ok(Ok(8)))));
        // One that does not heed the stop and is busy is named, and dropped at its next await.
        let (dropped, was_dropped) = mpsc::channel::<()>();
        let (go, gone) = mpsc::channel::<()>();
        let late = stop.spawn_task("late", async move {
            let _dropped = dropped;
            gone.recv().ok();
            std::future::pending::<()>().await;
        });
        let report = stop.shutdown(Plan::within(Duration::from_millis(20)));
        assert!(!report.is_clean());
        assert_eq!(report.members().len(), 1, "{report}");
        assert_eq!(report.members()[0].name, "late");
        go.send(()).expect("it is there");
        assert_eq!(was_dropped.recv_timeout(GUARD), Err(mpsc::RecvTimeoutError::Disconnected));
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.panicked(), ["panics"]);
        assert!(late.is_finished());
    });
}

#[cfg(feature = "tokio")]
#[test]
fn a_shutdown_of_a_runtime_with_one_thread_lets_its_tasks_end() {
    guarded(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let stop = Stop::new("mds.a");
            for _ in 0..3 {
                let own = stop.clone();
                drop(stop.spawn_task("client", async move { own.requested().await }));
            }
            let own = stop.clone();
            // The one that shuts down is a member itself, and is not waited for.
            let stopper = Stop::new("other");
            let report = stopper.spawn_task("stopper", async move { own.shutdown_async(Plan::within(GUARD)).await });
            let report = report.await.expect("no panic");
            assert!(report.is_clean(), "{report}");
            let own = stop.clone();
            let (told, tell) = tokio::sync::oneshot::channel();
            drop(stop.spawn_task("member", async move {
                told.send(own.shutdown_async(Plan::within(GUARD)).await).expect("the test waits");
            }));
            let report = tell.await.expect("told");
            assert!(report.is_clean(), "{report}");
            // Dropping the future does not stop the shutdown.
            let stop = Stop::new("mds.b");
            drop(stop.shutdown_async(Plan::within(GUARD)));
            stop.requested().await;
        });
    });
}

/// A task that shuts down is in its own shutdown, and not dropped with those that are late there.
#[test]
#[cfg(feature = "tokio")]
fn a_task_that_shuts_down_is_not_dropped_by_its_own_shutdown() {
    guarded(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        let stop = Stop::new("mds.a");
        let (release, stuck) = mpsc::channel::<()>();
        let deaf = stop.spawn("deaf", move || stuck.recv().is_ok()).expect("a thread");
        let (told, tell) = mpsc::channel();
        let own = stop.clone();
        let _entered = runtime.enter();
        let admin = stop.spawn_task("admin", async move {
            let report = own.shutdown_async(Plan::within(Duration::from_millis(10))).await;
            tokio::task::yield_now().await;
            told.send(report.members().len()).expect("the test waits");
        });
        assert_eq!(tell.recv_timeout(GUARD), Ok(1), "it lives, and has its report");
        release.send(()).expect("it waits");
        drop((deaf, admin));
    });
}
