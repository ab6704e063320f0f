//! L8, a report is always to be had; and the phases of a shutdown, which are what runs when everything else has ended.
//!
//! A failure shows as a deadlock of who asks for the report, or as a report that lacks who must be in it.

use std::sync::Arc;

use loom::sync::Mutex as LoomMutex;
use unwedge::Stopped;
use unwedge::model::{self, thread};
use unwedge::report::Outcome;

use crate::common::{Failure, explore, explore_as, fails};
use crate::world::{World, plan};

/// A member waits for the lock that the caller holds: the report comes, and has the member until it ends.
#[test]
fn law8_report_beside_a_wait() {
    explore_as("report_beside_a_wait_for_the_lock", "L8", Some(2), || {
        let world = World::new();
        let inner = world.clone();
        let held = world.lock.lock().unwrap();
        let member = world.stop.spawn("replay", move || inner.lock.lock().map(drop)).unwrap();
        let report = world.stop.report();
        assert_eq!(report.members().len(), 1, "{report}");
        assert_eq!(report.members()[0].name, "replay");
        for wait in &report.members()[0].waits {
            assert_eq!(wait.what, "lock mds_lock");
        }
        drop(held);
        member.join().unwrap().unwrap();
        assert!(world.stop.shutdown(plan()).is_clean());
    });
    explore_as("report_beside_a_stop", "L8", Some(2), || {
        let world = World::new();
        let inner = world.clone();
        let member = world
            .stop
            .spawn("replay", move || inner.lock.lock()?.wait_while(&inner.changed, |value| *value == 0).map(drop));
        let reader = world.thread(|world| world.stop.report().members().len() <= 1);
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        assert!(reader.join().unwrap());
        drop(member);
    });
}

/// After the stop a phase takes the lock and finds what a stopped wait has left behind, and undoes it.
#[test]
fn law8_phase_undoes_what_a_stopped_wait_left() {
    explore("L2, L8", Some(2), || {
        let world = World::new();
        let inner = world.clone();
        let member = world.stop.spawn("replay", move || {
            // A pin that is taken back after the wait, if there is an after.
            let mut pins = inner.lock.lock()?;
            *pins += 1;
            let mut pins = pins.wait(&inner.changed)?;
            *pins -= 1;
            Ok::<(), Stopped>(())
        });
        let lock = world.lock.clone();
        let plan = plan().phase("unpin", std::time::Duration::from_secs(60), move |phase| {
            *lock.lock_in(phase)? = 0;
            Ok(())
        });
        let report = world.stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.phases()[0].outcome, Outcome::Done);
        let lock = Arc::into_inner(world.lock).expect("the member has ended");
        assert_eq!(*lock.into_lock().lock(), 0, "the next life finds no pin");
        drop(member);
    });
}

/// A phase whose work never comes is given up at its deadline, and the shutdown goes on.
#[test]
fn law8_phase_is_given_up_at_its_deadline() {
    explore("L1, L8", Some(2), || {
        let world = World::new();
        let limit = std::time::Duration::from_secs(60);
        let plan = plan().phase("save", limit, move |phase| {
            let (never, mut written) = unwedge::Completion::<u32>::new("write", phase);
            model::advance(limit);
            let outcome = written.wait();
            drop(never);
            outcome??;
            Ok(())
        });
        let report = world.stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.phases()[0].outcome, Outcome::Stopped);
    });
}

/// The stopper carries the lock into a phase: nobody gets in between.
#[test]
fn law8_adopted_guard() {
    explore("L2", Some(2), || {
        let world = World::new();
        let phase = unwedge::Stop::new("save");
        let waiter = world.thread(|world| world.lock.lock().map(|mut value| *value = 9));
        let held = world.lock.lock().unwrap();
        let early = *held == 9;
        world.stop.request("SIGTERM");
        let held = held.adopt(&phase);
        let (completer, mut written) = unwedge::Completion::<u32>::new("write", &phase);
        completer.complete(1).unwrap();
        let (held, value) = held.wait_for(&mut written).unwrap();
        assert_eq!(value, Ok(1));
        assert_eq!(*held == 9, early, "who was stopped did not get in");
        let outcome = waiter.join().unwrap();
        assert_eq!(outcome.is_ok(), early);
        drop(held);
    });
}

/// A report that takes the lock of which it reports.
#[test]
fn twin_report_that_takes_the_lock() {
    fails(Failure::Deadlock, Some(2), || {
        let lock = loom::sync::Arc::new(LoomMutex::new(0));
        let (inner, admin) = (lock.clone(), lock.clone());
        let answered = loom::sync::Arc::new((LoomMutex::new(false), loom::sync::Condvar::new()));
        let answer = answered.clone();
        let admin = thread::spawn(move || {
            let report = *admin.lock().unwrap();
            *answer.0.lock().unwrap() = true;
            answer.1.notify_one();
            report
        });
        // The stuck thread holds the lock until somebody has read the report and helps it.
        let held = inner.lock().unwrap();
        let mut helped = answered.0.lock().unwrap();
        while !*helped {
            helped = answered.1.wait(helped).unwrap();
        }
        drop((helped, held));
        admin.join().unwrap();
    });
}
