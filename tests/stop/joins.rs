//! Joins: of oneself, of one that never started, by two at once, after a panic, under the joiner's own lock, of thousands.

use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use unwedge::{JoinError, Monitor, Plan, Stop};

use crate::again::again;
use crate::common::{GUARD, guarded};
use crate::seen::until;

/// Set in the process in which no thread can be had.
const NO_THREADS: &str = "UNWEDGE_TEST_NO_THREADS";

/// In a process of its own, whose threads would have stacks that no memory is large enough for.
#[test]
fn one_that_never_started_is_an_error_and_nobody_waits_for_it() {
    if std::env::var_os(NO_THREADS).is_some() {
        let stop = Stop::new("mds.a");
        stop.spawn("never", || unreachable!("it has no stack")).expect_err("there is no memory for it");
        assert!(stop.report().members().is_empty(), "it is no member");
        let report = stop.shutdown(Plan::within(Duration::MAX).phase("save", GUARD, |_| Ok(())));
        assert!(report.is_clean(), "{report}");
        let failed = format!("{:?}", report.phases()[0].outcome);
        assert!(failed.contains("its thread could not be started"), "{failed}");
        println!("no thread was had");
        return;
    }
    let output = again("joins::one_that_never_started_is_an_error_and_nobody_waits_for_it", NO_THREADS)
        .args(["--test-threads", "1"])
        .env("RUST_MIN_STACK", (1_u64 << 50).to_string())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("no thread was had"), "{output:?}");
}

#[test]
fn a_thread_that_joins_itself_is_told() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (give, given) = mpsc::channel::<unwedge::Spawned<bool>>();
        let (told, tell) = mpsc::channel();
        let member = stop.spawn("itself", move || {
            let own = given.recv().expect("the test gives it");
            told.send(matches!(own.join(), Err(JoinError::Itself))).expect("the test waits");
            true
        });
        give.send(member.expect("a thread")).expect("it waits");
        assert_eq!(tell.recv_timeout(GUARD), Ok(true));
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

/// A join is made once, because it takes what is joined; shutdowns may be made by many at once, and all say the same.
#[test]
fn many_wait_at_once_for_the_same_end() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(()), &stop));
        let (release, held) = mpsc::channel::<()>();
        stop.spawn("late", move || held.recv().is_err()).expect("a thread");
        stop.spawn("panics", || panic!("on purpose")).map(drop).expect("a thread");
        let all = Arc::new(Barrier::new(5));
        let stoppers: Vec<_> = (0..4)
            .map(|n| {
                let (own, all, mds) = (stop.clone(), all.clone(), mds.clone());
                std::thread::spawn(move || {
                    all.wait();
                    match mds.lock() {
                        Ok(held) if n % 2 == 0 => own.shutdown_holding(held, Plan::within(GUARD)),
                        _ => own.shutdown(Plan::within(GUARD)),
                    }
                })
            })
            .collect();
        all.wait();
        until("the stop is requested", || stop.is_requested());
        drop(release);
        for stopper in stoppers {
            let report = stopper.join().expect("no panic");
            assert!(report.is_clean(), "{report}");
            assert_eq!(report.panicked(), ["panics"]);
        }
    });
}

/// Each of the thousands ends by itself, and the one who waits is told at the last end, in whatever domain that is.
#[test]
fn thousands_of_tasks_in_many_domains_end() {
    guarded(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        let _in_runtime = runtime.enter();
        let stop = Stop::new("mds.a");
        let parts: Vec<_> = (0..8).map(|n| stop.child(&format!("rank.{n}"))).collect();
        for n in 0..8_000 {
            let own = parts[n % parts.len()].clone();
            drop(stop.spawn_task("client", async move { own.requested().await }));
            let own = stop.clone();
            drop(parts[n % parts.len()].spawn_task("client", async move { own.requested().await }));
        }
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
    });
}

/// A stop that comes before anything was started is there for all that starts afterwards, also when the storage has an answer by then.
#[test]
fn a_stop_during_the_start_is_neither_lost_nor_undone() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (storage, mut header) = unwedge::Completion::<u32>::new("read of the header", &stop);
        stop.request("SIGTERM");
        // The storage comes back.
        storage.complete(7).expect("it is wanted");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(0), &stop));
        let big_lock = mds.clone();
        let replay = stop.spawn("replay", move || {
            let value = header.wait();
            (value.is_err(), big_lock.lock().is_err())
        });
        let rank = stop.child("rank.0");
        assert!(rank.is_requested() && rank.reason().as_deref() == Some("SIGTERM"));
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.reason(), Some("SIGTERM"));
        drop(replay);
        assert!(stop.is_requested() && mds.lock().is_err());
    });
}
