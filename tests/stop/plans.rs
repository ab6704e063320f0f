//! What a plan can say of a phase: when it runs, what it must hold and must not hold, that it is a task, what becomes of it when it is late; and how
//! the time is shared.

use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use unwedge::report::Outcome;
use unwedge::{Completion, Monitor, Plan, Step, Stop};

use crate::again::again;
use crate::common::{GUARD, guarded};
use crate::seen::until;

const LONG: Duration = Duration::from_secs(3600);

fn outcomes(report: &unwedge::report::Report) -> Vec<(&str, Outcome)> {
    report.phases().iter().map(|phase| (phase.name.as_str(), phase.outcome.clone())).collect()
}

#[test]
fn early_phases_run_before_the_members_are_waited_for() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (log, logged) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let told = log.clone();
        // It heeds no stop: only the early phase ends it.
        stop.spawn("listener", move || {
            released.recv().ok();
            told.send("listener").expect("the test reads");
        })
        .expect("a thread");
        let step = |name: &'static str| {
            let log = log.clone();
            move |_: &unwedge::Phase| Ok(log.send(name)?)
        };
        let plan = Plan::within(3 * LONG)
            .phase("save", LONG, step("save"))
            .step(Step::new("stop accepting", GUARD).before_join().run(move |_| {
                drop(release);
                Ok(())
            }))
            .step(Step::new("unlink", LONG).run(step("unlink")));
        assert!(format!("{plan:?}").contains("stop accepting"));
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        let done = |name| (name, Outcome::Done);
        assert_eq!(outcomes(&report), [done("stop accepting"), done("save"), done("unlink")]);
        drop(log);
        assert_eq!(logged.try_iter().collect::<Vec<_>>(), ["listener", "save", "unlink"]);
    });
}

#[test]
fn a_step_is_given_the_lock_that_it_must_hold() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(1), &stop));
        let held = mds.lock().expect("not stopped");
        let plan = Plan::within(GUARD).step(Step::new("save", LONG).holding(&mds).run(|phase, mut state| {
            assert!(!phase.is_requested());
            *state += 1;
            Ok(())
        }));
        assert!(stop.shutdown_holding(held, plan).is_clean());
        assert_eq!(mds.lock_in(&Stop::new("next")).as_deref().ok(), Some(&2));
    });
}

/// Ceph's PR 60326: one step needs the lock, the next one must not find it held.
#[test]
fn a_step_whose_lock_the_stopper_holds_fails_at_once_and_says_so() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(1), &stop));
        let other = Arc::new(Monitor::new("other", parking_lot::Mutex::new(1), &stop));
        let held = mds.lock().expect("not stopped");
        let plan = || {
            Plan::within(2 * LONG)
                .step(Step::new("early", LONG).before_join().not_holding(&mds).run(|_| Ok(())))
                .step(Step::new("apart", LONG).not_holding(&other).run(|_| Ok(())))
                .step(Step::new("holds", LONG).holding(&mds).run(|_, _| Ok(())))
                .step(Step::new("late", LONG).not_holding(&mds).run(|_| Ok(())))
        };
        let report = stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        let outcomes_of = outcomes(&report);
        assert_eq!(outcomes_of[1].1, Outcome::Done);
        for at in [0, 2, 3] {
            let Outcome::Failed(why) = &outcomes_of[at].1 else { panic!("{report}") };
            assert!(why.contains("mds_lock") && why.contains("who shuts down"), "{why}");
        }
        // With the guard given over, only the early one comes while it is held.
        let report = stop.shutdown_holding(held, plan());
        let ended = outcomes(&report);
        assert!(matches!(ended[0].1, Outcome::Failed(_)), "{report}");
        assert!(ended[1..].iter().all(|(_, outcome)| *outcome == Outcome::Done), "{report}");
    });
}

#[test]
fn a_lock_that_a_left_phase_holds_is_named_and_others_are_waited_for() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let apart = Stop::new("apart");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(1), &apart));
        let (release, stuck) = mpsc::channel::<()>();
        let plan = Plan::within(2 * LONG)
            .step(Step::new("stuck", Duration::from_secs(1)).holding(&mds).run(move |_, _held| Ok(stuck.recv()?)))
            .step(Step::new("next", LONG).not_holding(&mds).run(|_| Ok(())));
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Left);
        let Outcome::Failed(why) = &report.phases()[1].outcome else { panic!("{report}") };
        assert!(why.contains("mds_lock") && why.contains("stuck, of a phase that was left"), "{why}");
        drop(release);
        // One who will let it go is no reason to fail.
        let (go, gone) = mpsc::channel::<()>();
        let (m, own) = (mds.clone(), apart.clone());
        apart
            .spawn("holder", move || {
                let held = m.lock_in(&own);
                gone.recv().ok();
                drop(held);
            })
            .expect("a thread");
        until("it holds the lock", || mds.try_lock().is_ok_and(|guard| guard.is_none()));
        let m = mds.clone();
        let plan = Plan::within(LONG).step(Step::new("waits", LONG).not_holding(&mds).run(move |phase| {
            drop(go);
            drop(m.lock_in(phase)?);
            Ok(())
        }));
        assert_eq!(stop.shutdown(plan).phases()[0].outcome, Outcome::Done);
        assert!(apart.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn phases_that_ask_for_too_much_share_what_there_is() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (told, tell) = mpsc::channel();
        let step = |told: mpsc::Sender<Duration>| move |phase: &unwedge::Phase| Ok(told.send(phase.time_left())?);
        let plan = Plan::within(GUARD)
            .phase("modest", GUARD / 10, step(told.clone()))
            .phase("greedy", Duration::MAX, step(told.clone()))
            .phase("greedy too", 2 * GUARD, step(told));
        assert!(stop.shutdown(plan).is_clean());
        let had: Vec<_> = tell.iter().collect();
        assert!(had[0] <= GUARD / 10, "what it asked for, and no more");
        assert!(had[1] <= GUARD / 2 && had[1] > GUARD / 3, "{had:?}: half of what the others leave");
        assert!(had[2] <= GUARD && had[2] > GUARD / 2, "{had:?}: what the one before did not use is its own");
    });
}

#[test]
fn progress_is_told_with_the_time_that_is_left() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (told, tell) = mpsc::channel();
        let plan = Plan::within(2 * LONG)
            .on_progress(move |phase| {
                assert!(phase.time_left() <= LONG);
                told.send(phase.name().to_owned()).expect("the test reads");
                panic!("a hook that panics is contained");
            })
            .phase("save", LONG, |phase| {
                phase.progress();
                Ok(())
            })
            .phase("release", LONG, |_| Ok(()));
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        assert!(report.phases().iter().all(|phase| phase.outcome == Outcome::Done), "{report}");
        assert_eq!(tell.iter().collect::<Vec<_>>(), ["save", "save", "save", "release", "release"]);
    });
}

#[test]
fn a_step_that_is_a_task_runs_on_its_runtime_and_is_dropped_when_late() {
    guarded(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let _in_runtime = runtime.enter();
        let stop = Stop::new("mds.a");
        let (dropped, is_dropped) = mpsc::channel::<()>();
        let plan = Plan::within(4 * LONG)
            .phase_async("done", LONG, |phase| async move {
                tokio::task::yield_now().await;
                assert_eq!(phase.name(), "done");
                Ok(())
            })
            .phase_async("heeds", Duration::from_millis(1), |phase| async move {
                phase.requested().await;
                Err("given up".into())
            })
            .phase_async("deaf", Duration::from_millis(1), |_| async move {
                let _dropped = dropped;
                std::future::pending().await
            })
            .phase_async("panics", LONG, |_| async { panic!("on purpose") })
            .phase_async("fails", LONG, |_| async { Err("no space left".into()) });
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        let failed = |why: &str| Outcome::Failed(why.to_owned());
        let ended: Vec<_> = report.phases().iter().map(|phase| phase.outcome.clone()).collect();
        assert_eq!(
            ended,
            [Outcome::Done, Outcome::Stopped, Outcome::Stopped, failed("it panicked"), failed("no space left")]
        );
        assert_eq!(is_dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    });
}

#[test]
fn a_step_that_is_a_task_runs_on_a_runtime_with_one_thread() {
    guarded(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let stop = Stop::new("mds.a");
        let report = runtime.block_on(async {
            let plan = Plan::within(2 * LONG).phase_async("save", LONG, |_| async {
                tokio::task::yield_now().await;
                Ok(())
            });
            stop.shutdown_async(plan).await
        });
        assert_eq!(outcomes(&report), [("save", Outcome::Done)]);
        // One whose runtime is gone is told, and holds nobody up.
        let plan = {
            let _in_runtime = runtime.enter();
            Plan::within(2 * LONG).phase_async("save", LONG, |_| async { Ok(()) })
        };
        drop(runtime);
        let report = stop.shutdown(plan);
        assert_eq!(outcomes(&report), [("save", Outcome::Failed("its runtime dropped it".to_owned()))]);
    });
}

/// Set in the process that is to be aborted.
const ABORTS: &str = "UNWEDGE_TEST_ABORTS";

/// In a process of its own: a phase is late that must not be.
#[test]
fn a_late_phase_aborts_the_process_with_the_report() {
    if std::env::var_os(ABORTS).is_some() {
        let stop = Stop::new("mds.a");
        let (_never, mut read) = Completion::<u8>::new("journal read", &Stop::new("apart"));
        let own = Stop::new("apart too");
        let plan = Plan::within(4 * GUARD)
            .phase("first", GUARD, |_| Ok(()))
            .phase("second", GUARD, |_| Err("no space".into()))
            .step(Step::new("fence", Duration::from_millis(20)).or_abort().run(move |_| {
                read.wait_in(&own)?.ok();
                Ok(())
            }))
            .phase("release", GUARD, |_| Ok(()));
        stop.shutdown(plan);
        unreachable!("the phase was late");
    }
    guarded(|| {
        let test = "plans::a_late_phase_aborts_the_process_with_the_report";
        let output = again(test, ABORTS).output().expect("it runs");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said.lines().collect();
        let head = lines.iter().position(|line| line.starts_with("mds.a: NOT STOPPED (shutdown) after "));
        let head = head.unwrap_or_else(|| panic!("{said}"));
        assert!(lines[head].ends_with(", in phase fence (3 of 4), late"), "{said}");
        assert!(
            lines[head + 1].starts_with("  stop waits for thread \"fence\" of phase fence, which waits "),
            "{said}"
        );
        assert!(lines[head + 1].contains(" for journal read ("), "{said}");
        for part in [
            "phase first: done",
            "phase second: failed: no space",
            "phase fence: late: stopped, and its step has not ended",
            "phase release: to come, ",
            "aborted, because the phase fence is late",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    });
}

#[test]
fn one_that_ends_in_time_or_is_hurried_aborts_nothing() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let own = stop.clone();
        let plan = Plan::within(2 * LONG).step(Step::new("in time", LONG).or_abort().run(|_| Ok(()))).step(
            Step::new("hurried", LONG).or_abort().run(move |phase| {
                own.hurry("test");
                phase.wait_timeout(Duration::MAX);
                Err("given up".into())
            }),
        );
        let report = stop.shutdown(plan);
        assert_eq!(outcomes(&report), [("in time", Outcome::Done), ("hurried", Outcome::Stopped)]);
        assert!(report.is_clean(), "{report}");
    });
}
