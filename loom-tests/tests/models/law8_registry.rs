//! L8, what a reader of the registry sees while it changes: the right one, or nobody.
//!
//! A failure shows as an assertion: a stranger is blamed, or who has said that he owes a result is not known to who waits for it.

use std::sync::{Arc, atomic};
use std::task::{Context, Waker};

use loom::sync::Arc as LoomArc;
use loom::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use unwedge::model::thread;
use unwedge::report::{HeldBy, OwedBy, Report, WaitsFor};

use crate::common::{Failure, explore, fails};
use crate::world::{World, plan};

/// What the members of a report wait for.
fn waits(report: &Report) -> impl Iterator<Item = &WaitsFor> {
    report.members().iter().flat_map(|member| &member.waits).map(|wait| &wait.on)
}

/// Two take turns at the lock: a report names as its holder one of them, and never the one who waits; and in some schedule it does name one.
#[test]
fn law8_holder_is_one_who_had_the_lock() {
    // Of all schedules together: an atomic of the standard library, which is no part of the model.
    let named = Arc::new(atomic::AtomicUsize::new(0));
    let seen = named.clone();
    explore("L8", Some(2), move || {
        let world = World::new();
        let members = ["first", "second"].map(|name| {
            let inner = world.clone();
            world.stop.spawn(name, move || inner.lock.lock().map(drop)).unwrap()
        });
        let report = world.stop.report();
        for member in report.members() {
            for wait in &member.waits {
                if let WaitsFor::Lock { held_by: HeldBy::Member(holder), .. } = &wait.on {
                    assert_ne!(holder.name, member.name, "{report}");
                    assert!(["first", "second"].contains(&&*holder.name), "{report}");
                    seen.fetch_add(1, atomic::Ordering::Relaxed);
                }
            }
        }
        for member in members {
            member.join().unwrap().unwrap();
        }
        assert!(world.stop.shutdown(plan()).is_clean());
    });
    assert!(named.load(atomic::Ordering::Relaxed) > 0, "nobody was ever named");
}

/// A member says that it owes a result and ends, and another one comes into its slot, while a third waits: the other one is never taken for the debtor.
#[test]
fn law8_who_has_ended_is_not_taken_for_who_came_after() {
    explore("L8", Some(2), || {
        let world = World::new();
        let (completer, owed) = world.owed::<u32>();
        let debtor = world.stop.spawn("debtor", move || {
            completer.owed_by_me();
            completer
        });
        let completer = debtor.unwrap().join().unwrap();
        let stranger = world.stop.spawn("stranger", || ()).unwrap();
        let (_waiter, task) = world.stop.track("waiter", owed);
        let mut task = Box::pin(task);
        let mut context = Context::from_waker(Waker::noop());
        assert!(task.as_mut().poll(&mut context).is_pending());
        let report = world.stop.report();
        for on in waits(&report) {
            let WaitsFor::Completion { owed_by: OwedBy::Member(by), .. } = on else { panic!("{on:?}") };
            assert!(by.name != "stranger", "{by:?}");
        }
        completer.complete(1).unwrap();
        assert!(task.as_mut().poll(&mut context).is_ready());
        drop(stranger);
        assert!(world.stop.shutdown(plan()).is_clean());
    });
}

/// A member says that it owes a result beside one who begins to wait for it: whoever was first, it is known afterwards.
#[test]
fn law8_debtor_is_known_whoever_was_first() {
    explore("L8", None, || {
        let world = World::new();
        let (completer, owed) = world.owed::<u32>();
        let debtor = world.thread(move |_| {
            completer.owed_by_me();
            completer
        });
        let (_waiter, task) = world.stop.track("waiter", owed);
        let mut task = Box::pin(task);
        let mut context = Context::from_waker(Waker::noop());
        assert!(task.as_mut().poll(&mut context).is_pending());
        let completer = debtor.join().unwrap();
        let report = world.stop.report();
        let on: Vec<_> = waits(&report).collect();
        assert!(matches!(on[..], [WaitsFor::Completion { owed_by: OwedBy::Member(_), .. }]), "{on:?}");
        completer.complete(1).unwrap();
        assert!(task.as_mut().poll(&mut context).is_ready());
    });
}

const ENDED: usize = 2;
const MOVING_IN: usize = 4;

/// A slot of the registry in small: its occupant, of life 1, has ended, and another one moves in, with a step that says so or without. Who asks for the name of
/// the first one meanwhile must not be given the other's.
fn last_name(says_so: bool) {
    const GONE: usize = 1;
    const STRANGER: usize = 2;
    let (life, name) = (LoomArc::new(AtomicUsize::new(ENDED)), LoomArc::new(AtomicUsize::new(GONE)));
    let (own_life, own_name) = (life.clone(), name.clone());
    let next = thread::spawn(move || {
        if says_so {
            own_life.store(MOVING_IN, Relaxed);
        }
        fence(Release);
        own_name.store(STRANGER, Relaxed);
        own_life.store(MOVING_IN + 1, Release);
    });
    let seen = name.load(Relaxed);
    fence(Acquire);
    if life.load(Acquire) == ENDED {
        assert_eq!(seen, GONE, "the name of a stranger");
    }
    next.join().unwrap();
}

/// The name of who has ended, as long as nobody else has its slot.
#[test]
fn law8_last_name_protocol() {
    explore("L8", None, || last_name(true));
}

/// The same where who moves in says so at the end alone.
#[test]
fn twin_last_name_while_another_moves_in() {
    fails(Failure::Panic("the name of a stranger"), None, || last_name(false));
}

/// A slot that is known by its index alone: who comes after is taken for who was meant.
#[test]
fn twin_member_without_a_life() {
    fails(Failure::Panic("a stranger is blamed"), Some(2), || {
        const DEBTOR: usize = 1;
        const STRANGER: usize = 2;
        let slot = LoomArc::new(AtomicUsize::new(DEBTOR));
        let own = slot.clone();
        // The debt is the slot's index. The debtor ends, and another one has the slot.
        let next = thread::spawn(move || own.store(STRANGER, Relaxed));
        assert_eq!(slot.load(Relaxed), DEBTOR, "a stranger is blamed");
        next.join().unwrap();
    });
}

/// A debtor that stores and loads, beside a waiter that stores and loads: both may miss each other.
#[test]
fn twin_debtor_with_a_load() {
    fails(Failure::Panic("nobody knows the debtor"), None, || {
        let debtor = LoomArc::new(AtomicUsize::new(0));
        let waited = LoomArc::new(AtomicUsize::new(0));
        let told = LoomArc::new(AtomicUsize::new(0));
        let (d, w, t) = (debtor.clone(), waited.clone(), told.clone());
        let says = thread::spawn(move || {
            d.store(7, Relaxed);
            if w.load(Relaxed) != 0 {
                t.store(7, Relaxed);
            }
        });
        waited.store(1, Relaxed);
        let seen = debtor.load(Relaxed);
        says.join().unwrap();
        assert!(seen == 7 || told.load(Relaxed) == 7, "nobody knows the debtor");
    });
}
