//! L7: a stop may be requested, and a shutdown begun, by anybody at any time; who would wait for itself gets an error.

use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use unwedge::{Completion, JoinError, Monitor, Plan, Spawned, Stop};

use crate::common::{GUARD, guarded};
use crate::on_each_runtime;
use crate::seen::{until, until_waits};

#[test]
fn law7_requested_twice_under_a_lock_from_its_own_thread_and_from_a_callback() {
    guarded(|| {
        let stop = Stop::new("l7");
        let monitor = Arc::new(Monitor::new("m", Mutex::new(()), &stop));
        let held = monitor.lock().expect("free");
        assert!(stop.request("first"));
        assert!(!stop.request("second"));
        drop(held);
        assert_eq!(stop.reason().as_deref(), Some("first"));
        let own = stop.clone();
        let late = stop.spawn("late", move || own.request("third")).expect("a thread");
        until("it has ended", || late.is_finished());

        let stop = Stop::new("l7");
        let (own, m) = (stop.clone(), Arc::new(Monitor::new("m", Mutex::new(()), &stop)));
        stop.spawn("own", move || {
            let _held = m.lock();
            own.request("own thread")
        })
        .expect("a thread");
        until("it has ended", || stop.report().members().is_empty());
        assert_eq!(stop.reason().as_deref(), Some("own thread"));

        let stop = Stop::new("l7");
        let (completer, completion) = Completion::<u32>::new("value", &stop);
        let own = stop.clone();
        let (ran, has_run) = mpsc::channel();
        completion
            .on_complete(&stop, move |_| {
                ran.send(own.request("callback")).ok();
            })
            .expect("a thread");
        completer.complete(1).expect("wanted");
        assert_eq!(has_run.recv_timeout(GUARD), Ok(true));
        assert_eq!(stop.reason().as_deref(), Some("callback"));
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn law7_many_threads_request_at_once_and_one_is_first() {
    guarded(|| {
        for _ in 0..100 {
            let stop = Stop::new("l7");
            let start = Barrier::new(4);
            let first: usize = thread::scope(|scope| {
                let request = |reason: &'static str| {
                    let (stop, start) = (&stop, &start);
                    scope.spawn(move || {
                        start.wait();
                        (stop.request(reason), reason)
                    })
                };
                let all = [request("a"), request("b"), request("c"), request("d")];
                let all = all.map(|thread| thread.join().expect("no panic"));
                for (first, reason) in all {
                    assert_eq!(first, stop.reason().as_deref() == Some(reason));
                }
                all.iter().filter(|(first, _)| *first).count()
            });
            assert_eq!(first, 1);
        }
    });
}

#[test]
fn law7_a_shutdown_from_a_thread_of_the_domain_does_not_wait_for_that_thread() {
    guarded(|| {
        let stop = Stop::new("l7");
        let own = stop.clone();
        stop.spawn("other", move || own.wait_timeout(Duration::MAX)).expect("a thread");
        let own = stop.clone();
        let (ended, report) = mpsc::channel();
        stop.spawn("stopper", move || ended.send(own.shutdown(Plan::within(GUARD))).is_ok()).expect("a thread");
        let report = report.recv_timeout(GUARD).expect("it ends");
        assert!(report.is_clean(), "{report}");
        // From outside it is waited for.
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
        assert!(stop.report().members().is_empty());
    });
}

#[test]
fn law7_a_shutdown_from_a_callback_does_not_wait_for_that_callback() {
    guarded(|| {
        let stop = Stop::new("l7");
        let own = stop.clone();
        stop.spawn("other", move || own.wait_timeout(Duration::MAX)).expect("a thread");
        let (completer, completion) = Completion::<u32>::new("value", &stop);
        let own = stop.clone();
        let (ended, report) = mpsc::channel();
        completion.on_complete(&stop, move |_| drop(ended.send(own.shutdown(Plan::within(GUARD))))).expect("a thread");
        completer.complete(1).expect("wanted");
        let report = report.recv_timeout(GUARD).expect("it ends");
        assert!(report.is_clean(), "{report}");
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn law7_an_async_shutdown_that_a_callback_blocks_on_does_not_wait_for_that_callback() {
    guarded(|| {
        let stop = Stop::new("l7");
        let (completer, completion) = Completion::<u32>::new("value", &stop);
        let own = stop.clone();
        let (ended, report) = mpsc::channel();
        completion
            .on_complete(&stop, move |_| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                drop(ended.send(runtime.block_on(own.shutdown_async(Plan::within(2 * GUARD)))));
            })
            .expect("a thread");
        completer.complete(1).expect("wanted");
        let report = report.recv_timeout(GUARD).expect("it ends");
        assert!(report.is_clean(), "{report}");
    });
}

#[test]
fn law7_shutdowns_do_not_wait_for_each_other() {
    guarded(|| {
        let stop = Stop::new("l7");
        let (ended, reports) = mpsc::channel();
        let start = Arc::new(Barrier::new(3));
        for name in ["one", "two"] {
            let (own, start, ended) = (stop.clone(), start.clone(), ended.clone());
            stop.spawn(name, move || {
                start.wait();
                ended.send(own.shutdown(Plan::within(2 * GUARD))).is_ok()
            })
            .expect("a thread");
        }
        start.wait();
        let outside = stop.shutdown(Plan::within(2 * GUARD));
        for _ in 0..2 {
            let report = reports.recv_timeout(GUARD).expect("it ends");
            assert!(report.members().is_empty(), "{report}");
        }
        assert!(outside.members().is_empty(), "{outside}");
    });
}

#[test]
fn law7_who_would_join_itself_gets_an_error() {
    on_each_runtime(|| async {
        let stop = Stop::new("l7");
        let (send, receive) = mpsc::channel::<Spawned<bool>>();
        let (told, tell) = mpsc::channel();
        let own = stop.spawn("own", move || {
            let itself = receive.recv().expect("sent");
            told.send(matches!(itself.join(), Err(JoinError::Itself))).expect("the test waits");
            true
        });
        send.send(own.expect("a thread")).expect("it receives");
        assert_eq!(tell.recv_timeout(GUARD), Ok(true));

        let (send, receive) = tokio::sync::oneshot::channel::<Spawned<()>>();
        let (told, tell) = tokio::sync::oneshot::channel();
        let own = stop.spawn_task("own", async move {
            let itself = receive.await.expect("sent");
            told.send(matches!(itself.await, Err(JoinError::Itself))).expect("the test waits");
        });
        send.send(own).expect("it receives");
        assert!(tell.await.expect("told"));
        assert!(stop.shutdown_async(Plan::within(GUARD)).await.is_clean());
    });
}

#[test]
fn law7_joining_one_that_has_ended_is_never_joining_oneself() {
    guarded(|| {
        let stop = Stop::new("l7");
        let first = stop.spawn("first", || 1).expect("a thread");
        until("it has ended", || stop.report().members().is_empty());
        // The second has the slot in the registry that the first one had.
        let second = stop.spawn("second", move || first.join()).expect("a thread");
        let joined = second.join().expect("no panic");
        assert!(matches!(joined, Ok(1)), "{joined:?}");
    });
}

#[test]
fn law7_a_thread_may_join_another_that_stops_the_domain() {
    guarded(|| {
        let stop = Stop::new("l7");
        let own = stop.clone();
        let go = Arc::new(Barrier::new(2));
        let gone = go.clone();
        let stopper = stop.spawn("stopper", move || {
            gone.wait();
            own.request("from a thread that is joined")
        });
        let stopper = stopper.expect("a thread");
        let joiner = stop.spawn("joiner", move || stopper.join().map(drop)).expect("a thread");
        until_waits(&stop, "joiner", "end of stopper");
        go.wait();
        until("both have ended", || stop.report().members().is_empty());
        drop(joiner);
    });
}

#[test]
fn law7_a_plan_without_a_limit_is_a_plan() {
    guarded(|| {
        let stop = Stop::new("l7");
        let own = stop.clone();
        stop.spawn("own", move || own.wait_timeout(Duration::MAX)).expect("a thread");
        let plan = Plan::within(Duration::MAX)
            .phase("one", Duration::MAX, |phase| {
                assert!(phase.time_left() > GUARD);
                Ok(())
            })
            .phase("two", Duration::MAX, |_| Ok(()));
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        assert!(report.phases().iter().all(|phase| phase.outcome == unwedge::report::Outcome::Done), "{report}");
    });
}
