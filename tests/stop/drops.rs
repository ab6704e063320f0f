//! What a plan has is the user's, and so is what its drop does: where that blocks (a file on a dead mount), a thread is left, and the shutdown ends.

use std::fmt;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use unwedge::io::{Backend, Io};
use unwedge::report::{Outcome, Report};
use unwedge::{Monitor, Plan, Step, Stop};

use crate::common::{GUARD, guarded};

const SHORT: Duration = Duration::from_millis(50);

/// Its drop blocks until the other end has gone.
struct Blocks(mpsc::Receiver<()>);

impl Drop for Blocks {
    fn drop(&mut self) {
        self.0.recv().ok();
    }
}

fn blocks() -> (mpsc::Sender<()>, Blocks) {
    let (release, released) = mpsc::channel();
    (release, Blocks(released))
}

#[track_caller]
fn assert_ended(report: &Report, outcome: &Outcome, threads: usize) {
    assert_eq!(report.phases().iter().map(|phase| &phase.outcome).collect::<Vec<_>>(), [outcome]);
    assert_eq!((report.leaked_threads(), report.is_clean()), (threads, false), "{report}");
}

#[test]
fn a_step_that_is_skipped() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (_release, blocks) = blocks();
        let plan = Plan::within(GUARD).phase("save", GUARD, move |_| {
            drop(blocks);
            Ok(())
        });
        stop.hurry("a second SIGTERM");
        assert_ended(&stop.shutdown(plan), &Outcome::Skipped, 1);
    });
}

#[test]
fn a_step_whose_lock_is_held() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(()), &stop));
        let _held = mds.lock().expect("not stopped");
        let (_release, blocks) = blocks();
        let plan = Plan::within(SHORT).step(Step::new("save", GUARD).not_holding(&mds).run(move |_| {
            drop(blocks);
            Ok(())
        }));
        let report = stop.shutdown(plan);
        let outcome = report.phases()[0].outcome.clone();
        assert!(matches!(outcome, Outcome::Failed(_)), "{report}");
        assert_ended(&report, &outcome, 1);
    });
}

/// The plan has the last of it.
#[test]
fn the_monitor_of_a_step() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (_release, blocks) = blocks();
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(blocks), &stop));
        let plan = Plan::within(GUARD).step(Step::new("save", SHORT).holding(&mds).run(|_, _| Ok(())));
        drop(mds);
        assert_ended(&stop.shutdown(plan), &Outcome::Left, 0);
    });
}

struct Fails(Blocks);

impl fmt::Debug for Fails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fails")
    }
}

impl fmt::Display for Fails {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.recv().ok();
        Ok(())
    }
}

// A receiver is not shared by threads: the error lies in a mutex.
#[derive(Debug)]
struct Failed(Mutex<Fails>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lock().map_or(Ok(()), |fails| fails.fmt(f))
    }
}

impl std::error::Error for Failed {}

/// Its text is asked for, and it is dropped, by the thread of the phase.
#[test]
fn the_error_of_a_step() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (_release, blocks) = blocks();
        let plan = Plan::within(GUARD).phase("save", SHORT, move |_| Err(Failed(Mutex::new(Fails(blocks))).into()));
        assert_ended(&stop.shutdown(plan), &Outcome::Left, 0);
    });
}

#[test]
fn the_hook_of_a_plan() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (_release, blocks) = blocks();
        let blocks = Mutex::new(blocks);
        let plan = Plan::within(SHORT).on_progress(move |_| drop(blocks.lock())).phase("save", GUARD, |_| Ok(()));
        assert_ended(&stop.shutdown(plan), &Outcome::Done, 1);
    });
}

/// A phase's own I/O goes with the phase: nobody shuts it down, and its hooks do not run.
#[test]
fn what_closes_the_io_of_a_phase() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (_release, blocks) = blocks();
        let plan = Plan::within(GUARD).phase("save", GUARD, move |phase| {
            let io = Io::builder(phase).backend(Backend::Pool).build()?;
            let hook = io.on_close(move |_| {
                drop(blocks);
                0
            });
            assert!(hook.is_ok(), "the service is open");
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
    });
}
