//! A shutdown within a shutdown, or beside one whose phases still run.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use unwedge::report::Outcome;
use unwedge::{Plan, Stop};

use crate::common::{GUARD, guarded};

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
