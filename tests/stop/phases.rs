//! The plan: phases that are done, fail, panic, are stopped at their deadline or left; and what they find.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use unwedge::report::Outcome;
use unwedge::{Completion, Condvar, Monitor, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits};

#[test]
fn phases_run_in_order_after_the_members_each_in_a_domain_of_its_own() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (own, l) = (stop.clone(), log.clone());
        stop.spawn("member", move || {
            own.wait_timeout(Duration::MAX);
            l.lock().expect("not poisoned").push("member".to_owned());
        })
        .expect("a thread");
        let step = |name: &'static str| {
            let (log, outer) = (log.clone(), stop.clone());
            move |phase: &unwedge::Phase| {
                assert!(outer.is_requested() && !phase.is_requested());
                assert_eq!(phase.name(), name);
                assert!(phase.time_left() <= GUARD && phase.deadline() > std::time::Instant::now());
                assert_eq!(std::thread::current().name(), Some(name));
                log.lock().expect("not poisoned").push(name.to_owned());
                Ok(())
            }
        };
        let plan = Plan::within(4 * GUARD).phase("save", GUARD, step("save")).phase(
            "write header",
            GUARD,
            step("write header"),
        );
        assert!(format!("{plan:?}").contains("write header"));
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        assert_eq!(*log.lock().expect("not poisoned"), ["member", "save", "write header"]);
        let phases: Vec<_> = report.phases().iter().map(|phase| (phase.name.as_str(), &phase.outcome)).collect();
        assert_eq!(phases, [("save", &Outcome::Done), ("write header", &Outcome::Done)]);
        assert!(report.elapsed().is_some_and(|elapsed| elapsed >= report.phases()[0].elapsed));
    });
}

#[test]
fn a_phase_that_fails_or_panics_is_told_and_the_next_one_runs() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let ran = Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        let plan = Plan::within(4 * GUARD)
            .phase("fails", GUARD, |_| Err("no space left".into()))
            .phase("panics", GUARD, |_| panic!("on purpose"))
            .phase("runs", GUARD, move |_| {
                count.fetch_add(1, SeqCst);
                Ok(())
            });
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "everything has ended: {report}");
        let outcomes: Vec<_> = report.phases().iter().map(|phase| phase.outcome.clone()).collect();
        let failed = |why: &str| Outcome::Failed(why.to_owned());
        assert_eq!(outcomes, [failed("no space left"), failed("it panicked"), Outcome::Done]);
        assert_eq!(ran.load(SeqCst), 1);
        assert!(report.to_string().contains("phase fails: failed: no space left"), "{report}");
    });
}

#[test]
fn a_phase_is_stopped_at_its_deadline_and_the_next_one_runs() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let monitor = Arc::new(Monitor::new("m", Mutex::new(0), &stop));
        let (_never, mut frozen) = Completion::<u32>::new("write", &stop);
        let m = monitor.clone();
        let limit = Duration::from_millis(30);
        let plan = Plan::within(4 * GUARD)
            .phase("frozen", limit, move |phase| {
                let _held = m.lock_in(phase)?;
                frozen.wait_in(phase)?.map_err(Into::into).map(drop)
            })
            .phase("next", GUARD, move |phase| {
                *monitor.lock_in(phase)? += 1;
                Ok(())
            });
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Stopped);
        assert!(report.phases()[0].elapsed >= limit);
        assert_eq!(report.phases()[1].outcome, Outcome::Done);
        assert!(report.is_clean(), "{report}");
        assert!(report.to_string().contains("given up: its time was up"), "{report}");
    });
}

#[test]
fn a_phase_that_blocks_elsewhere_is_left_and_told() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (go, gone) = mpsc::channel::<()>();
        let plan = Plan::within(4 * GUARD).phase("stuck", Duration::from_millis(10), move |_| {
            gone.recv()?;
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Left);
        assert!(!report.is_clean());
        assert!(report.to_string().contains("its thread has not ended"), "{report}");
        go.send(()).expect("it is there");
    });
}

#[test]
fn a_phase_starts_threads_of_its_own_and_is_over_when_they_are() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let ran = Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        let plan = Plan::within(4 * GUARD).phase("save", GUARD, move |phase| {
            for _ in 0..3 {
                let count = count.clone();
                drop(phase.spawn("helper", move || count.fetch_add(1, SeqCst))?);
            }
            Ok(())
        });
        assert!(stop.shutdown(plan).is_clean());
        until("they have run", || ran.load(SeqCst) == 3);
    });
}

#[test]
fn members_that_do_not_end_leave_the_phases_their_time() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (go, gone) = mpsc::channel::<()>();
        let stuck = stop.spawn("stuck", move || gone.recv().is_ok()).expect("a thread");
        let plan = Plan::within(Duration::from_millis(200)).phase("save", Duration::from_millis(190), |_| Ok(()));
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, Outcome::Done);
        assert_eq!(report.members().len(), 1, "{report}");
        assert_eq!(report.members()[0].name, "stuck");
        assert!(!report.is_clean());
        go.send(()).expect("it is there");
        until("it has ended", || stuck.is_finished());
    });
}

#[test]
fn an_empty_plan_without_time_requests_and_reports() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (go, gone) = mpsc::channel::<()>();
        drop(stop.spawn("busy", move || gone.recv().is_ok()));
        let report = stop.shutdown(Plan::within(Duration::ZERO));
        assert!(stop.is_requested());
        assert_eq!(report.members().len(), 1);
        go.send(()).expect("it is there");
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn a_lock_that_the_stopper_holds_is_let_go_before_the_phases() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(Vec::new()), &stop));
        let m = mds.clone();
        stop.spawn("late writer", move || {
            m.lock()?.push("never");
            Ok::<(), unwedge::Stopped>(())
        })
        .expect("a thread");
        until("it is done or waits", || stop.report().members().iter().all(|member| !member.waits.is_empty()));
        let mut held = mds.lock().expect("not stopped");
        held.clear();
        let m = mds.clone();
        stop.spawn("later writer", move || {
            m.lock()?.push("never");
            Ok::<(), unwedge::Stopped>(())
        })
        .expect("a thread");
        until_waits(&stop, "later writer", "lock mds_lock");
        let m = mds.clone();
        let plan = Plan::within(4 * GUARD).phase("save", GUARD, move |phase| {
            m.lock_in(phase)?.push("saved");
            Ok(())
        });
        let report = stop.shutdown_holding(held, plan);
        assert!(report.is_clean(), "{report}");
        assert_eq!(mds.lock_in(&Stop::new("next")).as_deref().ok(), Some(&vec!["saved"]));
    });
}

#[test]
fn who_holds_the_lock_goes_on_under_another_domain() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(0), &stop));
        let saved = Arc::new(Condvar::new());
        let phase = Stop::new("save");
        let held = mds.lock().expect("free");
        stop.request("test");
        let (m, s, own) = (mds.clone(), saved.clone(), phase.clone());
        let start = Arc::new(Barrier::new(2));
        let begin = start.clone();
        phase
            .spawn("saver", move || {
                begin.wait();
                *m.lock_in(&own)? = 1;
                s.notify_one();
                Ok::<(), unwedge::Stopped>(())
            })
            .expect("a thread");
        start.wait();
        // Under its old domain it would be stopped at once.
        let held = held.adopt(&phase).wait_while(&saved, |n| *n == 0).expect("the phase is not stopped");
        assert_eq!(*held, 1);
        drop(held);
        assert!(mds.lock().is_err());
        let held = mds.lock_in(&phase).expect("not stopped").adopt(&stop);
        assert!(held.wait(&saved).is_err());
    });
}

/// The pattern of the docs: what a stopped wait leaves is undone by a phase.
#[test]
fn what_a_stopped_wait_leaves_is_undone_by_a_phase() {
    #[derive(Default)]
    struct Cache {
        pins: Vec<u64>,
        dirty: bool,
    }
    guarded(|| {
        let stop = Stop::new("mds.a");
        let cache = Arc::new(Monitor::new("cache", parking_lot::Mutex::new(Cache::default()), &stop));
        let changed = Arc::new(Condvar::new());
        for inode in [1, 2, 3] {
            let (cache, changed) = (cache.clone(), changed.clone());
            stop.spawn("reader", move || {
                let mut guard = cache.lock()?;
                guard.pins.push(inode);
                let mut guard = guard.wait_while(&changed, |cache| !cache.dirty)?;
                // A stop skips this.
                guard.pins.retain(|pinned| *pinned != inode);
                Ok::<(), unwedge::Stopped>(())
            })
            .expect("a thread");
        }
        until("all wait", || cache.lock().is_ok_and(|cache| cache.pins.len() == 3));
        let undo = cache.clone();
        let plan = Plan::within(4 * GUARD).phase("unpin", GUARD, move |phase| {
            let mut cache = undo.lock_in(phase)?;
            cache.pins.clear();
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        let cache = Arc::into_inner(cache).expect("all have ended").into_lock().into_inner();
        assert!(cache.pins.is_empty() && !cache.dirty);
    });
}

#[test]
fn what_a_phase_started_is_stopped_with_it() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (told, ended) = mpsc::channel();
        let plan = Plan::within(GUARD).phase("save", Duration::from_millis(20), move |phase| {
            let own = Stop::clone(phase);
            phase.spawn("flusher", move || told.send(own.wait_timeout(Duration::MAX)))?;
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        assert_eq!(ended.try_recv(), Ok(true), "its wait was stopped, and it was waited for");
    });
}

#[test]
fn a_phase_whose_thread_does_not_end_is_left() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (release, held) = mpsc::channel::<()>();
        let plan = Plan::within(GUARD).phase("save", Duration::from_millis(20), move |phase| {
            phase.spawn("deaf", move || held.recv().is_err())?;
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert!(!report.is_clean());
        assert_eq!(report.phases()[0].outcome, Outcome::Left);
        drop(release);
    });
}

/// Its step has ended in time: what is left of the phase's limit is its thread's, to get past its end.
#[test]
fn a_thread_that_is_slow_at_its_end_has_the_rest_of_its_phase_s_time() {
    struct Slow(Arc<AtomicUsize>);
    impl Drop for Slow {
        fn drop(&mut self) {
            // Longer than who was stopped late is given for its way out.
            std::thread::sleep(Duration::from_millis(300));
            self.0.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<Slow>> = const { std::cell::RefCell::new(None) };
    }
    guarded(|| {
        let stop = Stop::new("mds.a");
        let over = Arc::new(AtomicUsize::new(0));
        let own = over.clone();
        let seen = over.clone();
        let plan = Plan::within(4 * GUARD)
            .phase("save", GUARD, move |_| {
                LAST.set(Some(Slow(own)));
                Ok(())
            })
            .phase("release", GUARD, move |_| if seen.load(SeqCst) == 1 { Ok(()) } else { Err("too early".into()) });
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        let outcomes: Vec<_> = report.phases().iter().map(|phase| phase.outcome.clone()).collect();
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
        assert_eq!(over.load(SeqCst), 1);
    });
}

#[test]
fn a_callback_is_stopped_by_the_domain_on_whose_thread_it_runs() {
    guarded(|| {
        let parent = Stop::new("mds.a");
        let child = parent.child("rank.0");
        let (_never, completion) = Completion::<u8>::new("read", &parent);
        let (told, ran) = mpsc::channel();
        completion.on_complete(&child, move |result| told.send(result.is_err()).unwrap_or(())).expect("a thread");
        child.request("test");
        assert_eq!(ran.recv_timeout(GUARD), Ok(true));
        assert!(!parent.is_requested());
        assert!(child.shutdown(Plan::within(GUARD)).is_clean());
    });
}
