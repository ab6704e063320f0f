//! A shutdown within a shutdown, or beside one whose phases still run.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use unwedge::io::Io;
use unwedge::report::{Outcome, Report};
use unwedge::{Monitor, Phase, Plan, Spawned, Step, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, waits_of};

/// A step that shuts its own phase down goes on afterwards, and the phase is over when it has ended: no other one begins meanwhile.
#[test]
fn a_step_that_shuts_its_phase_down_is_waited_for() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let ended = Arc::new(AtomicBool::new(false));
        let (set, seen) = (ended.clone(), ended.clone());
        let plan = Plan::within(4 * GUARD)
            .phase("save", GUARD, move |phase| {
                let own = phase.clone();
                phase.spawn("helper", move || own.wait_timeout(Duration::MAX))?;
                // It takes a while, so that the one outside comes to look meanwhile.
                let plan = Plan::within(GUARD).phase("inner", GUARD, |_| {
                    std::thread::sleep(Duration::from_millis(50));
                    Ok(())
                });
                assert!(phase.shutdown(plan).is_clean());
                set.store(true, SeqCst);
                Ok(())
            })
            .phase("release", GUARD, move |_| {
                assert!(seen.load(SeqCst), "the step before has not ended");
                Ok(())
            });
        let report = stop.shutdown(plan);
        let outcomes: Vec<_> = report.phases().iter().map(|phase| phase.outcome.clone()).collect();
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
        assert!(report.is_clean() && ended.load(SeqCst), "{report}");
    });
}

/// One that does not come out of it is left like any other, and named.
#[test]
fn a_step_that_hangs_in_a_shutdown_of_its_phase_is_left() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (go, gone) = mpsc::channel::<()>();
        let plan = Plan::within(4 * GUARD).phase("stuck", Duration::from_millis(10), move |phase| {
            let plan = Plan::within(2 * GUARD).phase("deaf", 2 * GUARD, move |_| Ok(gone.recv()?));
            assert!(phase.shutdown(plan).is_clean());
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Left);
        assert!(!report.is_clean());
        go.send(()).expect("it is there");
    });
}

/// Saves with the I/O.
fn save(io: &Io, phase: &Phase) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Ok(io.with(phase).run_blocking("save", || ()).wait()??)
}

/// A member of another domain that shuts this one down without a phase, as soon as it is told to.
fn shuts_down(watched: &Stop, stop: &Stop, plan: Plan) -> (mpsc::Sender<()>, Spawned<Report>) {
    let (go, gone) = mpsc::channel();
    let own = stop.clone();
    let other = watched.spawn("other", move || {
        gone.recv().expect("it is told");
        own.shutdown(plan)
    });
    (go, other.expect("a thread"))
}

/// What a thread that belongs to nobody is told when it shuts a domain down and has no time.
fn shut_down_at_once_by_another_thread(stop: Stop) -> Report {
    std::thread::spawn(move || stop.shutdown(Plan::within(Duration::ZERO))).join().expect("no panic")
}

/// A phase of one of these domains, while the other one is shut down by somebody who has no phase; both have the I/O of `owner`.
fn a_phase_keeps_the_io(owner: &Stop, has_phase: &Stop, has_none: &Stop) {
    let watched = Stop::new("the test");
    let io = Io::new(owner).expect("a backend");
    let (go, other) = shuts_down(&watched, has_none, Plan::within(GUARD));
    let (other, seen) = (Arc::new(other), watched.clone());
    let done = other.clone();
    let plan = Plan::within(4 * GUARD).phase("save", GUARD, move |phase| {
        go.send(())?;
        let waits = || waits_of(&seen, "other").iter().any(|wait| wait.what == "threads and tasks to end");
        until("the other one has come to its end or waits", || done.is_finished() || waits());
        save(&io, phase)?;
        // It would be through by then.
        std::thread::sleep(Duration::from_millis(20));
        if done.is_finished() { Err("it does not wait".into()) } else { Ok(()) }
    });
    let report = has_phase.shutdown(plan);
    assert_eq!(report.phases()[0].outcome, Outcome::Done, "{report}");
    assert!(report.is_clean(), "{report}");
    until("the other one is through", || other.is_finished());
    let report = Arc::into_inner(other).expect("the step is over").join().expect("no panic");
    assert!(report.is_clean(), "{report}");
    assert!(watched.shutdown(Plan::within(GUARD)).is_clean());
}

#[test]
fn the_io_is_closed_after_the_phases_of_every_shutdown() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        a_phase_keeps_the_io(&stop, &stop, &stop);
        let host = Stop::new("host");
        let rank = host.child("rank.0");
        a_phase_keeps_the_io(&host, &rank, &host);
        let host = Stop::new("host");
        let rank = host.child("rank.0");
        a_phase_keeps_the_io(&rank, &host, &rank);
    });
}

/// A step of a phase of a domain that has nothing to do with this one waits for the phases of this one's shutdowns, as anybody does.
#[test]
fn a_step_of_a_phase_elsewhere_waits() {
    guarded(|| {
        let (stop, elsewhere) = (Stop::new("mds.a"), Stop::new("mds.b"));
        let ((go, gone), (told, tell)) = (mpsc::channel(), mpsc::channel());
        let own = stop.clone();
        let step = Plan::within(4 * GUARD).phase("step", 2 * GUARD, move |_| {
            gone.recv()?;
            let report = own.shutdown(Plan::within(GUARD));
            told.send(()).ok();
            if report.is_clean() { Ok(()) } else { Err(report.to_string().into()) }
        });
        let other = std::thread::spawn(move || elsewhere.shutdown(step));
        let plan = Plan::within(4 * GUARD).phase("save", GUARD, move |_| {
            go.send(())?;
            // It would be through by then.
            let waits = tell.recv_timeout(Duration::from_millis(50)) == Err(mpsc::RecvTimeoutError::Timeout);
            if waits { Ok(()) } else { Err("it does not wait".into()) }
        });
        for report in [stop.shutdown(plan), other.join().expect("no panic")] {
            assert!(report.is_clean() && report.phases()[0].outcome == Outcome::Done, "{report}");
        }
    });
}

/// Who has no time leaves the I/O to the one whose phase runs, and says so.
#[test]
fn who_has_no_time_closes_nothing_under_a_phase() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("a backend");
        let own = stop.clone();
        let plan = Plan::within(4 * GUARD).phase("save", GUARD, move |phase| {
            let report = shut_down_at_once_by_another_thread(own);
            assert!(!report.is_clean() && report.closing() == 1, "{report}");
            save(&io, phase)
        });
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Done, "{report}");
        assert!(report.is_clean(), "{report}");
    });
}

/// A step that shuts down the very domain whose shutdown it is a step of waits for nobody, and has its I/O afterwards.
#[test]
fn a_step_that_shuts_the_outer_domain_down_does_not_wait_for_itself() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("a backend");
        let own = stop.clone();
        let plan = Plan::within(40 * GUARD).phase("save", 20 * GUARD, move |phase| {
            let inner = io.clone();
            let plan = Plan::within(10 * GUARD).phase("inner", GUARD, move |phase| save(&inner, phase));
            let report = own.shutdown(plan);
            assert_eq!(report.phases()[0].outcome, Outcome::Done, "{report}");
            assert!(report.is_clean(), "{report}");
            save(&io, phase)
        });
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Done, "{report}");
        assert!(report.is_clean(), "{report}");
    });
}

/// Who holds a lock that a phase of another shutdown wants does not wait for that phase (L7).
#[test]
fn a_phase_has_the_lock_of_who_shuts_down_with_it() {
    guarded(|| {
        let (stop, watched) = (Stop::new("mds.a"), Stop::new("the test"));
        let monitor = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &watched));
        let (go, gone) = mpsc::channel::<()>();
        let (held, holds) = mpsc::channel();
        let (own, locked) = (stop.clone(), monitor.clone());
        let other = watched.spawn("other", move || {
            let guard = locked.lock().expect("no stop");
            held.send(()).expect("the test waits");
            gone.recv().expect("it is told");
            let report = own.shutdown(Plan::within(40 * GUARD));
            drop(guard);
            report
        });
        holds.recv().expect("it holds the lock");
        let plan = Plan::within(40 * GUARD).phase("save", 20 * GUARD, move |phase| {
            go.send(())?;
            drop(monitor.lock_in(phase)?);
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Done, "{report}");
        assert!(report.is_clean(), "{report}");
        let report = other.expect("a thread").join().expect("no panic");
        assert_eq!(report.closing(), 1, "{report}");
    });
}

/// A member that stops a part of its domain does not wait for the phases of the one that waits for that member (L7).
#[test]
fn who_is_waited_for_does_not_wait_for_phases() {
    guarded(|| {
        let host = Stop::new("host");
        let rank = host.child("rank.0");
        let own = rank.clone();
        let ranks = host.spawn("ranks", move || {
            own.wait_timeout(Duration::MAX);
            own.shutdown(Plan::within(40 * GUARD))
        });
        assert!(ranks.is_ok());
        let report = host.shutdown(Plan::within(80 * GUARD).phase("save", GUARD, |_| Ok(())));
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.phases()[0].outcome, Outcome::Done, "{report}");
    });
}

/// A member of a part of a phase that stops the domain whose phase it is does not wait for that phase, which waits for it (L7).
#[test]
fn a_part_of_a_phase_does_not_wait_for_it() {
    guarded(|| {
        let host = Stop::new("host");
        let own = host.clone();
        let plan = Plan::within(80 * GUARD).phase("save", GUARD, move |phase| {
            let helper = phase.child("tables").child("helper");
            let member = helper.spawn("helper", move || own.shutdown(Plan::within(40 * GUARD)))?;
            assert!(member.join().is_ok());
            Ok(())
        });
        let report = host.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Done, "{report}");
        assert!(report.is_clean(), "{report}");
    });
}

/// Who hangs in a part of a phase is the phase's: it is left, named, and kept apart from the phases that come.
#[test]
fn who_hangs_in_a_part_of_a_phase_is_named() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let lock = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
        let (own, (go, gone)) = (lock.clone(), mpsc::channel::<()>());
        let plan = Plan::within(4 * GUARD)
            .phase("save", Duration::from_millis(500), move |phase| {
                let part = phase.child("tables").child("part");
                let in_part = part.clone();
                let deaf = move || {
                    let held = own.lock_in(&in_part);
                    let _ = gone.recv();
                    drop(held);
                };
                part.spawn("deaf", deaf)?;
                Ok(())
            })
            .step(Step::new("release", GUARD).not_holding(&lock).run(|_| Ok(())));
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Left);
        assert!(matches!(&report.phases()[1].outcome, Outcome::Failed(why) if why.contains("deaf")), "{report}");
        assert!(report.to_string().contains("deaf"), "{report}");
        go.send(()).expect("it is there");
    });
}

/// A task of a part of a phase is dropped with the phase.
#[test]
fn a_task_in_a_part_of_a_late_phase_is_dropped() {
    guarded(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let stop = Stop::new("mds.a");
        let handle = runtime.handle().clone();
        let plan = Plan::within(4 * GUARD).phase("save", Duration::from_millis(10), move |phase| {
            let _entered = handle.enter();
            drop(phase.child("tables").spawn_task("deaf", std::future::pending::<()>()));
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert!(report.phases()[0].outcome != Outcome::Left && report.is_clean(), "{report}");
    });
}

/// Who has no time closes what is no part of the domain whose phase runs, and nothing else.
#[test]
fn who_has_no_time_closes_what_is_left_to_nobody() {
    guarded(|| {
        let host = Stop::new("host");
        let (rank, other) = (host.child("rank.0"), host.child("rank.1"));
        let ios = [&host, &other, &rank].map(|owner| Io::new(owner).expect("a backend"));
        let own = host.clone();
        let plan = Plan::within(4 * GUARD).phase("save", GUARD, move |phase| {
            let report = shut_down_at_once_by_another_thread(own);
            assert!(!report.is_clean() && report.closing() == 1, "{report}");
            let [hosts, others, ranks] = ios;
            for io in [hosts, others] {
                let refused = io.with(phase).run_blocking("save", || ()).wait()?;
                assert!(refused.is_err(), "its pool is closed");
            }
            save(&ranks, phase)
        });
        let report = rank.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Done, "{report}");
        assert!(report.is_clean(), "{report}");
        assert!(host.shutdown(Plan::within(GUARD)).is_clean());
    });
}
