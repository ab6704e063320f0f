//! L2: a wait that a stop ends returns without the lock and never tries to take it again, so a stopper may hold the lock and join.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use unwedge::lock::ForeignLock;
use unwedge::{Completion, Condvar, Monitor, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits, waits_of};
use crate::{on_each_runtime, until_seen};

#[test]
fn law2_a_stopper_holds_the_lock_and_joins() {
    guarded(|| {
        let stop = Stop::new("l2");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(0_u32), &stop));
        let never = Arc::new(Condvar::new());
        let m = mds.clone();
        let c = never.clone();
        stop.spawn("wait", move || m.lock()?.wait(&c).map(drop)).expect("a thread");
        let m = mds.clone();
        stop.spawn("when", move || m.when(|n| (*n != 0).then_some(()))).expect("a thread");
        let m = mds.clone();
        let (completer, mut owed) = Completion::<u32>::new("read", &stop);
        stop.spawn("replay", move || m.lock()?.wait_for(&mut owed).map(drop)).expect("a thread");
        until("all wait", || stop.report().members().iter().all(|member| member.waits.len() == 1));

        let mut held = mds.lock().expect("free");
        *held = 1; // on its unlock `when` would look again
        let m = mds.clone();
        stop.spawn("lock", move || m.lock().map(drop)).expect("a thread");
        until_waits(&stop, "lock", "lock mds_lock");
        never.notify_all(); // `wait` has its notification and only wants the lock
        completer.complete(7).expect("wanted"); // so does `replay`
        until_waits(&stop, "wait", "lock mds_lock (notified)");
        until_waits(&stop, "replay", "lock mds_lock");

        let report = stop.shutdown_holding(held, Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        assert!(mds.lock_in(&Stop::new("next")).is_ok(), "a new life can take the monitor");
    });
}

#[test]
fn law2_threads_are_gone_while_the_lock_is_still_held() {
    guarded(|| {
        let stop = Stop::new("l2");
        let mds = Arc::new(Monitor::new("mds_lock", std::sync::RwLock::new(0_u32), &stop));
        let held = mds.lock().expect("free");
        for name in ["writer", "reader"] {
            let mds = mds.clone();
            stop.spawn(name, move || if name == "writer" { mds.lock().is_ok() } else { mds.read().is_ok() })
                .expect("a thread");
        }
        until("both wait", || stop.report().members().iter().all(|member| member.waits.len() == 1));
        stop.request("test");
        until("both have ended", || stop.report().members().is_empty());
        assert_eq!(*held, 0, "held all the time");
    });
}

#[test]
fn law2_a_stopper_may_be_a_task_that_keeps_the_guard() {
    on_each_runtime(|| async {
        let stop = Stop::new("l2");
        let mds = Arc::new(Monitor::new("mds_lock", tokio::sync::Mutex::new(0_u32), &stop));
        let never = Arc::new(Condvar::new());
        let (m, c) = (mds.clone(), never.clone());
        drop(stop.spawn_task("wait", async move {
            let guard = m.lock_async().await?;
            guard.wait_async(&c).await.map(drop)
        }));
        let m = mds.clone();
        drop(stop.spawn_task("when", async move { m.when_async(|n| (*n != 0).then_some(())).await }));
        until_seen("both wait", || stop.report().members().iter().all(|member| member.waits.len() == 1)).await;
        let held = mds.lock_async().await.expect("free");
        let m = mds.clone();
        drop(stop.spawn_task("lock", async move { m.lock_async().await.map(drop) }));
        until_seen("it waits", || waits_of(&stop, "lock").len() == 1).await;
        never.notify_one();
        let report = stop.shutdown_async(Plan::within(GUARD)).await;
        assert!(report.is_clean(), "{report}");
        drop(held);
    });
}

/// A lock that others also take directly: the stopper has it in both cases, once before the notification and once after it.
fn foreign<L: ForeignLock + Send + Sync + 'static>(lock: L, name: &str) {
    let lock = Arc::new(lock);
    for notified in [false, true] {
        let stop = Stop::new("l2");
        let condvar = Arc::new(Condvar::new());
        let (l, c, s) = (lock.clone(), condvar.clone(), stop.clone());
        stop.spawn("waiter", move || {
            let guard = take(&*l);
            c.wait(&s, &*l, guard).is_err()
        })
        .expect("a thread");
        until_waits(&stop, "waiter", "a condition variable");
        let held = take(&*lock);
        if notified {
            assert!(condvar.notify_one());
            until_waits(&stop, "waiter", "a lock that others also take (notified)");
        }
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{name}: {report}");
        drop(held);
        assert!(lock.try_lock().is_some(), "{name}: nobody holds it");
    }
}

fn take<L: ForeignLock>(lock: &L) -> L::Guard<'_> {
    lock.lock_until(Instant::now() + GUARD).expect("free soon")
}

#[test]
fn law2_over_a_lock_that_others_take_too() {
    guarded(|| {
        foreign(Mutex::new(0_u32), "std Mutex");
        foreign(std::sync::RwLock::new(0_u32), "std RwLock");
        foreign(parking_lot::Mutex::new(0_u32), "parking_lot Mutex");
        foreign(parking_lot::FairMutex::new(0_u32), "parking_lot FairMutex");
        foreign(parking_lot::RwLock::new(0_u32), "parking_lot RwLock");
        foreign(tokio::sync::Mutex::new(0_u32), "tokio Mutex");
        foreign(tokio::sync::RwLock::new(0_u32), "tokio RwLock");
    });
}

#[test]
fn law2_a_timeout_gives_the_lock_back() {
    guarded(|| {
        let stop = Stop::new("l2");
        let monitor = Monitor::new("m", std::sync::Mutex::new(1_u32), &stop);
        let never = Condvar::new();
        let past = Instant::now();
        let back = monitor.lock().expect("free").wait_until(&never, past).expect("not stopped");
        assert!(back.timed_out);
        assert_eq!(*back.guard, 1);
        let back = back.guard.wait_while_until(&never, past + Duration::from_millis(5), |_| true).expect("not stopped");
        assert!(back.timed_out && Instant::now() >= past + Duration::from_millis(5));
        assert!(matches!(monitor.try_lock(), Ok(None)), "it is held");
        drop(back);
        assert!(monitor.lock_until(past).is_ok(), "a free lock is taken after the deadline too");

        let foreign = Mutex::new(2_u32);
        let back = never.wait_until(&stop, &foreign, foreign.lock().expect("not poisoned"), past).expect("not stopped");
        assert!(back.timed_out);
        assert_eq!(*back.guard, 2);
        assert!(foreign.try_lock().is_err(), "it is held");
    });
}

#[test]
fn law2_a_timeout_takes_the_lock_again_however_long_that_lasts_unless_a_stop_comes() {
    guarded(|| {
        let stop = Stop::new("l2");
        let monitor = Arc::new(Monitor::new("m", parking_lot::Mutex::new(1_u32), &stop));
        let never = Arc::new(Condvar::new());
        for stopped in [false, true] {
            let (m, c) = (monitor.clone(), never.clone());
            let waiter = stop.spawn("waiter", move || {
                let guard = m.lock().expect("not stopped");
                guard.wait_until(&c, Instant::now() + Duration::from_millis(50)).map(|back| back.timed_out)
            });
            let waiter = waiter.expect("a thread");
            until("it waits, or is done already", || waiter.is_finished() || !waits_of(&stop, "waiter").is_empty());
            let held = monitor.lock().expect("not stopped");
            // If it was faster than this test it waits no more; otherwise it now waits for the lock.
            until("its time is up", || {
                waiter.is_finished() || waits_of(&stop, "waiter").iter().any(|wait| wait.what.starts_with("lock m"))
            });
            if stopped {
                let report = stop.shutdown_holding(held, Plan::within(GUARD));
                assert!(report.is_clean(), "{report}");
            } else {
                drop(held);
                assert_eq!(waiter.join().expect("it ends"), Ok(true));
            }
        }
    });
}

#[test]
fn law2_once_a_closure_has_taken_a_value_it_is_not_lost_to_a_stop() {
    let stop = Stop::new("l2");
    let jobs = Monitor::new("jobs", std::sync::Mutex::new(vec![7]), &stop);
    let own = stop.clone();
    let job = jobs.when(move |jobs| {
        own.request("in the closure itself");
        jobs.pop()
    });
    assert_eq!(job, Ok(7));
    assert!(jobs.when(|jobs| jobs.pop()).is_err());
}
