//! The coordinator: a hurried shutdown beside its members and phases, the locks of its phases, ranks beside each other.
//!
//! A failure shows as a deadlock (a shutdown that waits on though it was hurried, a phase that waits for the lock of who waits for it), as a sibling that
//! was stopped, or as a wrong outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::AtomicBool;
use unwedge::model::parts::closed_by_shutdown;
use unwedge::model::{self, block_on, thread};
use unwedge::report::Outcome;
use unwedge::{Completion, Step, Stop, Stopped};

use crate::common::{Failure, explore, fails, happened};
use crate::world::{World, plan};

/// L1: a hurry ends a shutdown that waits for a member which heeds no stop, whenever it comes; a second one and a request beside it change nothing.
#[test]
fn coordinator_hurry_ends_the_wait_for_a_member() {
    explore("L1 L7", Some(2), || {
        let (stop, apart) = (Stop::new("life"), Stop::new("the model"));
        let (open, mut gate) = Completion::<()>::new("gate", &apart);
        let (_spawned, deaf) = stop.track("deaf", async move { gate.wait().is_ok() });
        let executor = thread::spawn(move || block_on(deaf));
        let own = stop.clone();
        let signals = thread::spawn(move || own.hurry("a second signal"));
        let report = stop.shutdown(plan());
        assert!(stop.is_hurried() && !report.is_clean());
        assert!(signals.join().unwrap() && !stop.hurry("a third"));
        open.complete(()).unwrap();
        executor.join().unwrap();
    });
}

/// L1: a hurry reaches a phase that waits, and one that has not begun; the shutdown returns, and the phase's wait has ended.
#[test]
fn coordinator_hurry_ends_a_phase() {
    explore("L1 L7", Some(2), || {
        let (stop, apart) = (Stop::new("life"), Stop::new("the model"));
        let (_never, mut write) = Completion::<u32>::new("write", &apart);
        let (begun, mut begins) = Completion::<Stop>::new("a phase", &apart);
        let own = stop.clone();
        let signals = thread::spawn(move || own.hurry("a second signal"));
        let report = stop.shutdown(plan().phase("save", std::time::Duration::from_secs(60), move |phase| {
            drop(begun.complete(Stop::clone(phase)));
            assert_eq!(write.wait_in(phase).map(drop), Err(Stopped), "nobody completes it");
            Err("given up".into())
        }));
        assert!(signals.join().unwrap());
        // A model gives no time for the way out: the thread may be about to end.
        let outcome = &report.phases()[0].outcome;
        assert!(matches!(outcome, Outcome::Stopped | Outcome::Left | Outcome::Skipped), "{report}");
        if let Ok(Ok(phase)) = begins.wait() {
            assert!(*outcome != Outcome::Skipped && phase.is_requested());
            phase.shutdown(plan());
        }
    });
}

/// Born hurried: a child that is made beside a hurry is reached by it, or is born so.
#[test]
fn coordinator_child_beside_a_hurry() {
    explore("L7", Some(3), || {
        let stop = Stop::new("life");
        let own = stop.clone();
        let signals = thread::spawn(move || own.hurry("a second signal"));
        let child = stop.child("rank.0");
        assert!(signals.join().unwrap());
        assert!(child.is_requested() && child.is_hurried());
    });
}

/// L2: a step that must hold the lock has it, though the stopper came with it and a member stands in line for it.
#[test]
fn coordinator_phase_holds_the_lock() {
    explore("L2", Some(2), || {
        let world = World::new();
        let held = world.lock.lock().unwrap();
        let waiter = world.thread(|world| world.lock.lock().map(drop));
        let step = Step::new("save", std::time::Duration::from_secs(60));
        let plan = plan().step(step.holding(&world.lock).run(|_, mut value| {
            *value = 7;
            Ok(())
        }));
        let report = world.stop.shutdown_holding(held, plan);
        assert!(report.is_clean() && report.phases()[0].outcome == Outcome::Done, "{report}");
        // Who had looked at the flag before the request may have come in after the shutdown's guard.
        waiter.join().unwrap().ok();
        assert_eq!(*world.lock.lock_in(&Stop::new("next")).unwrap(), 7);
    });
}

/// L1: a step that takes the lock which the stopper holds is not begun (Ceph's PR 60326), and one of another thread's is waited for.
#[test]
fn coordinator_phase_must_not_find_the_lock_held() {
    explore("L1", Some(2), || {
        let world = World::new();
        let other = Arc::new(unwedge::Monitor::new("other", model::Mutex::new(0_u32), &world.stop));
        let held = world.lock.lock().unwrap();
        let busy = {
            let other = other.clone();
            world.thread(move |_| other.lock().map(|mut value| *value += 1))
        };
        let minute = std::time::Duration::from_secs(60);
        let (mine, theirs) = (world.lock.clone(), other.clone());
        let plan = plan()
            .step(Step::new("mine", minute).not_holding(&mine.clone()).run(move |phase| {
                drop(mine.lock_in(phase)?);
                Ok(())
            }))
            .step(Step::new("other's", minute).not_holding(&other).run(move |phase| {
                drop(theirs.lock_in(phase)?);
                Ok(())
            }));
        let report = world.stop.shutdown(plan);
        assert!(matches!(report.phases()[0].outcome, Outcome::Failed(_)), "{report}");
        assert_eq!(report.phases()[1].outcome, Outcome::Done);
        drop(held);
        busy.join().unwrap().ok();
    });
}

/// L1, L3: the stop of one rank ends its own waits, and its sibling's read comes.
#[test]
fn coordinator_rank_beside_its_sibling() {
    explore("L1 L3", Some(2), || {
        let root = Stop::new("host");
        let (one, other) = (root.child("rank.0"), root.child("rank.1"));
        let (completer, mut read) = Completion::<u32>::new("read", &root);
        let (_never, mut frozen) = Completion::<u32>::new("frozen read", &root);
        let (own, sibling) = (one.clone(), other.clone());
        let replay = one.spawn("replay", move || frozen.wait_in(&own).is_err()).unwrap();
        let serves = thread::spawn(move || read.wait_in(&sibling).map(Result::unwrap));
        let storage = thread::spawn(move || completer.complete(7).is_ok());
        assert!(one.shutdown(plan()).is_clean());
        assert_eq!(serves.join().unwrap(), Ok(7), "a sibling was stopped");
        assert!(storage.join().unwrap());
        assert!(!other.is_requested() && !root.is_requested());
        drop(replay);
    });
}

/// L7: a step that shuts its own phase down is passed over by that shutdown alone; the phase is over when the step is.
#[test]
fn coordinator_phase_shuts_itself_down() {
    explore("L7", Some(2), || {
        let stop = Stop::new("life");
        let plan = plan().phase("save", std::time::Duration::from_secs(60), |phase| {
            assert!(phase.shutdown(crate::world::plan()).is_clean());
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert!(report.is_clean() && report.phases()[0].outcome == Outcome::Done, "{report}");
    });
}

/// L7: what a phase saves with is not closed under it by a shutdown that has no phases, and both say clean when it is closed.
#[test]
fn coordinator_phase_beside_a_shutdown_without() {
    explore("L7", Some(2), || {
        let stop = Stop::new("life");
        let open = Arc::new(AtomicBool::new(true));
        let closed = open.clone();
        closed_by_shutdown(&stop, move || closed.store(false, Ordering::Release));
        let (told, tells) = Completion::<thread::JoinHandle<()>>::new("a thread", &Stop::new("the model"));
        let (own, seen) = (stop.clone(), open.clone());
        let report = stop.shutdown(plan().phase("save", std::time::Duration::from_secs(60), move |_| {
            let still = seen.clone();
            let other = thread::spawn(move || {
                assert!(own.shutdown(crate::world::plan()).is_clean());
                assert!(!still.load(Ordering::Acquire), "clean before it is closed");
            });
            assert!(seen.load(Ordering::Acquire), "closed under a phase");
            assert!(told.complete(other).is_ok());
            Ok(())
        }));
        assert!(report.is_clean() && report.phases()[0].outcome == Outcome::Done, "{report}");
        tells.cancel().unwrap().unwrap().join().unwrap();
    });
}

/// L7: who is waited for by a shutdown that has phases to run does not wait for these phases in a shutdown of its own: neither would come to its end. What it
/// would have closed is left to the other one, and not closed under that one's phase.
#[test]
fn coordinator_member_that_is_waited_for_leaves_the_phases_alone() {
    explore("L7", Some(2), || {
        let host = Stop::new("host");
        let rank = host.child("rank.0");
        let open = Arc::new(AtomicBool::new(true));
        let closed = open.clone();
        closed_by_shutdown(&rank, move || closed.store(false, Ordering::Release));
        let (own, requested) = (rank.clone(), host.clone());
        let admin = move || {
            // From here on the other one has its phase before it, and waits for this thread.
            assert!(requested.wait_timeout(std::time::Duration::MAX));
            assert!(!own.shutdown(plan()).is_clean(), "it has left something to the other one");
        };
        drop(host.spawn("admin", admin).unwrap());
        let seen = open.clone();
        let report = host.shutdown(plan().phase("save", std::time::Duration::from_secs(60), move |_| {
            assert!(seen.load(Ordering::Acquire), "closed under a phase");
            Ok(())
        }));
        assert!(report.is_clean() && report.phases()[0].outcome == Outcome::Done, "{report}");
        assert!(!open.load(Ordering::Acquire), "clean before it is closed");
    });
}

/// A hurry that is a flag alone: who waits for the members does not look at it again.
#[test]
fn twin_hurry_tells_nobody() {
    fails(Failure::LostWakeUp, Some(2), || {
        let hurried = Arc::new(AtomicBool::new(false));
        let members = loom::sync::Arc::new((loom::sync::Mutex::new(1_u32), loom::sync::Condvar::new()));
        let flag = hurried.clone();
        let signals = thread::spawn(move || {
            flag.store(true, Ordering::Release);
            happened();
        });
        let (left, ended) = &*members;
        let mut left = left.lock().unwrap();
        while *left != 0 && !hurried.load(Ordering::Acquire) {
            left = ended.wait(left).unwrap();
        }
        drop(left);
        signals.join().unwrap();
    });
}

/// A phase that is taken as over when nobody is left but who shuts it down.
#[test]
fn twin_phase_over_before_its_step() {
    fails(Failure::Panic("over before its step"), Some(2), || {
        let awaited = loom::sync::Arc::new((loom::sync::Mutex::new(1_u32), loom::sync::Condvar::new()));
        let done = Arc::new(AtomicBool::new(false));
        let (own, set) = (awaited.clone(), done.clone());
        let step = thread::spawn(move || {
            *own.0.lock().unwrap() -= 1;
            own.1.notify_one();
            set.store(true, Ordering::Release);
        });
        let mut left = awaited.0.lock().unwrap();
        while *left != 0 {
            left = awaited.1.wait(left).unwrap();
        }
        drop(left);
        assert!(done.load(Ordering::Acquire), "over before its step");
        step.join().unwrap();
    });
}

/// Who has no phases closes what is there.
#[test]
fn twin_closed_under_a_phase() {
    fails(Failure::Panic("closed under a phase"), Some(2), || {
        let io = loom::sync::Arc::new(loom::sync::Mutex::new(Some(())));
        let own = io.clone();
        let other = thread::spawn(move || own.lock().unwrap().take().is_some());
        let phase = thread::spawn(move || assert!(io.lock().unwrap().is_some(), "closed under a phase"));
        phase.join().unwrap();
        other.join().unwrap();
    });
}

/// A member that waits for the phases of a shutdown which waits for the member first.
#[test]
fn twin_phases_waited_for_by_who_is_waited_for() {
    fails(Failure::Deadlock, Some(2), || {
        // The members and the phases that are left.
        let left = loom::sync::Arc::new((loom::sync::Mutex::new((1_u32, 1_u32)), loom::sync::Condvar::new()));
        let own = left.clone();
        let admin = thread::spawn(move || {
            let mut left = own.0.lock().unwrap();
            while left.1 != 0 {
                left = own.1.wait(left).unwrap();
            }
            left.0 -= 1;
            own.1.notify_all();
        });
        let mut members = left.0.lock().unwrap();
        while members.0 != 0 {
            members = left.1.wait(members).unwrap();
        }
        members.1 -= 1;
        left.1.notify_all();
        drop(members);
        admin.join().unwrap();
    });
}

/// A step that takes the lock of the one who waits for the step.
#[test]
fn twin_phase_takes_the_stopper_s_lock() {
    fails(Failure::Deadlock, Some(2), || {
        let lock = loom::sync::Arc::new(loom::sync::Mutex::new(0_u32));
        let held = lock.lock().unwrap();
        let own = lock.clone();
        let phase = thread::spawn(move || *own.lock().unwrap() += 1);
        phase.join().unwrap();
        drop(held);
    });
}

/// A child that looks at its parent's hurry before it is in the parent's list.
#[test]
fn twin_child_looks_before_it_is_listed() {
    fails(Failure::Panic("a child that was not hurried"), Some(2), || {
        let parent = loom::sync::Arc::new(loom::sync::Mutex::new((false, Vec::<loom::sync::Arc<AtomicBool>>::new())));
        let own = parent.clone();
        let signals = thread::spawn(move || {
            let mut parent = own.lock().unwrap();
            parent.0 = true;
            for child in &parent.1 {
                child.store(true, Ordering::Release);
            }
        });
        let hurried = parent.lock().unwrap().0;
        let child = loom::sync::Arc::new(AtomicBool::new(hurried));
        parent.lock().unwrap().1.push(child.clone());
        signals.join().unwrap();
        assert!(child.load(Ordering::Acquire), "a child that was not hurried");
    });
}

/// One flag for all ranks.
#[test]
fn twin_ranks_with_one_flag() {
    fails(Failure::Panic("a sibling was stopped"), Some(2), || {
        let host = Stop::new("host");
        let (completer, mut read) = Completion::<u32>::new("read", &host);
        let serves = thread::spawn(move || read.wait().is_ok());
        let storage = thread::spawn(move || completer.complete(7).is_ok());
        host.request("rank.0");
        assert!(serves.join().unwrap(), "a sibling was stopped");
        storage.join().unwrap();
    });
}
