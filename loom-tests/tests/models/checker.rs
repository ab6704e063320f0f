//! `model` itself: what a daemon's authors are given. Bounds, choices, a store, tasks, deadlines and wake-ups for no reason; and that nothing may be left
//! when a model ends.
//!
//! A failure of the twins shows as a panic that names what is left; of the models, as a schedule or a choice that was never seen.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use unwedge::model::{self, Answer, Checker, Store};
use unwedge::{Abandoned, Completion, Monitor, Stopped};

use crate::common::{Failure, explore, fails, said_by, test_of};
use crate::world::{World, later, plan};

/// A read of an object, as a daemon's own trait over its storage has it.
fn read(store: &Store, object: &str) -> Completion<u32> {
    store.ask("read", object, Ok::<_, Abandoned>(7))
}

/// A store that answers at once, late or never: the stop is clean with each, and each is seen.
#[test]
fn store_answers_in_every_way() {
    static READ: AtomicUsize = AtomicUsize::new(0);
    static UNREAD: AtomicUsize = AtomicUsize::new(0);
    static WANTED: AtomicUsize = AtomicUsize::new(0);
    let seen = Checker::new().preemptions(2).check(|| {
        let world = World::new();
        let store = Store::new(&world.stop).with("header", Answer::Any);
        let (inner, storage) = (world.clone(), store.clone());
        let replay = world.stop.spawn("replay", move || {
            let (mut position, header) = inner.lock.lock()?.wait_for(&mut read(&storage, "header"))?;
            *position = header.unwrap();
            Ok::<(), Stopped>(())
        });
        let back = model::thread::spawn(move || store.answer_late());
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        WANTED.fetch_add(back.join().unwrap(), Ordering::Relaxed);
        drop(replay);
        let next = unwedge::Stop::new("next");
        let position = *world.lock.lock_in(&next).unwrap();
        (if position == 7 { &READ } else { &UNREAD }).fetch_add(1, Ordering::Relaxed);
    });
    println!("model store_answers_in_every_way law L1, L5 bound 2 executions {} seconds -", seen.executions);
    assert_eq!((seen.combinations, seen.complete), (3, true));
    for counted in [&READ, &UNREAD, &WANTED] {
        assert!(counted.load(Ordering::Relaxed) > 0);
    }
}

/// The same store in the next life, and in a phase: what the last life did not get there is had here.
#[test]
fn store_serves_the_next_life() {
    explore("L1", Some(2), || {
        let world = World::new();
        let store = Store::new(&world.stop).with("slow", Answer::Never);
        let mut slow = read(&store, "slow");
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        assert_eq!(slow.wait(), Err(Stopped));
        drop(slow);
        stopper.join().unwrap();
        let next = unwedge::Stop::new("next");
        assert_eq!(read(&store, "other").wait(), Err(Stopped));
        assert_eq!(read(&store.within(&next), "other").wait(), Ok(Ok(7)));
    });
}

/// Every combination of two choices, of which one is asked for only in some cases.
#[test]
fn choices_are_combined() {
    static SEEN: std::sync::Mutex<Vec<(usize, usize)>> = std::sync::Mutex::new(Vec::new());
    let seen = Checker::new().check(|| {
        let thread = model::thread::spawn(|| model::choose("one", 3));
        let one = thread.join().unwrap();
        assert_eq!(model::choose("one", 3), one, "it is the same all through a run");
        let two = if one == 1 { 9 } else { model::choose("two", 2) };
        let mut list = SEEN.lock().unwrap();
        if !list.contains(&(one, two)) {
            list.push((one, two));
        }
    });
    assert_eq!(*SEEN.lock().unwrap(), [(0, 0), (0, 1), (1, 9), (2, 0), (2, 1)]);
    assert_eq!(seen.combinations, 5);
}

/// A wait that is not in a loop over what it waits for: a wake-up for no reason shows it; one in a loop does not mind.
#[test]
fn wait_in_a_loop_minds_no_wakeup() {
    explore("L3", Some(2), || {
        let world = World::new();
        let disturbed = model::spurious_wakeup();
        let setter = world.thread(|world| {
            *world.lock.lock().unwrap() = 1;
            world.changed.notify_one();
        });
        let value = world.lock.lock().unwrap().wait_while(&world.changed, |value| *value == 0).unwrap();
        assert_eq!(*value, 1);
        drop(value);
        disturbed.join().unwrap();
        setter.join().unwrap();
    });
}

#[test]
fn twin_wait_without_a_loop() {
    fails(Failure::Panic("woken, and it has not changed"), Some(2), || {
        let world = World::new();
        let disturbed = model::spurious_wakeup();
        let setter = world.thread(|world| {
            *world.lock.lock().unwrap() = 1;
            world.changed.notify_one();
        });
        let mut value = world.lock.lock().unwrap();
        if *value == 0 {
            value = value.wait(&world.changed).unwrap();
        }
        assert_eq!(*value, 1, "woken, and it has not changed");
        drop(value);
        disturbed.join().unwrap();
        setter.join().unwrap();
    });
}

/// A deadline that comes at any point: both outcomes are seen.
#[test]
fn deadline_comes_at_any_point() {
    static IN_TIME: AtomicUsize = AtomicUsize::new(0);
    static LATE: AtomicUsize = AtomicUsize::new(0);
    explore("L5", Some(3), || {
        let world = World::new();
        let deadline = later();
        let clock = model::time_passes(Duration::from_secs(2));
        let (completer, mut read) = world.owed::<u32>();
        let storage = world.thread(move |_| completer.complete(1).is_ok());
        let outcome = read.wait_until(deadline);
        (if outcome.is_ok() { &IN_TIME } else { &LATE }).fetch_add(1, Ordering::Relaxed);
        drop(read);
        clock.join().unwrap();
        storage.join().unwrap();
    });
    assert!(IN_TIME.load(Ordering::Relaxed) > 0 && LATE.load(Ordering::Relaxed) > 0);
}

/// Two tasks on one thread, and one on a thread of its own.
#[test]
fn tasks_need_few_threads() {
    explore("L1", Some(2), || {
        let world = World::new();
        let watched = world.stop.clone();
        let watcher = model::spawn_task(&world.stop, "watcher", async move { watched.requested().await });
        let (one, two) = (world.clone(), world.clone());
        model::run_all(vec![
            Box::pin(async move { assert_eq!(one.lock.when_async(|value| (*value == 1).then_some(())).await, Ok(())) }),
            Box::pin(async move { *two.lock.lock_async().await.unwrap() = 1 }),
        ]);
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        drop(watcher);
    });
}

/// A bound on the time gives up, and says so.
#[test]
fn checker_gives_up_when_it_has_to() {
    let seen = Checker::new().within(Duration::from_millis(50)).check(|| {
        let world = World::new();
        let others = [(); 3].map(|()| world.thread(|world| *world.lock.lock().unwrap() += 1));
        for other in others {
            other.join().unwrap();
        }
    });
    assert!(!seen.complete && seen.executions > 1, "{seen}");
    assert!(seen.to_string().ends_with("given up before the end"));
}

#[test]
fn twin_thread_that_has_not_ended() {
    fails(Failure::Panic("left at the end of the model: the thread of "), Some(2), || {
        let world = World::new();
        drop(model::thread::spawn(move || drop(world.lock.lock())));
    });
}

#[test]
fn twin_member_that_has_not_ended() {
    fails(Failure::Panic("left at the end of the model: replay has not ended"), Some(2), || {
        let world = World::new();
        let inner = world.clone();
        drop(world.stop.spawn("replay", move || inner.stop.wait_timeout(Duration::from_secs(4))));
    });
}

#[test]
fn twin_waiter_that_is_left() {
    const LEFT: &str =
        "left at the end of the model: a thread outside every domain waits for a condition variable of mds_lock";
    fails(Failure::Panic(LEFT), Some(2), || {
        let world = World::new();
        let other = world.thread(|world| drop(world.lock.lock()));
        // A future that is forgotten: nobody will ever poll or drop it.
        let guard = world.lock.lock().unwrap();
        let _forgotten = ManuallyDrop::new(guard.wait_async(&world.changed));
        other.join().unwrap();
    });
}

#[test]
fn twin_lock_that_is_held() {
    const LEFT: &str = "left at the end of the model: mds_lock is held by a thread outside every domain";
    fails(Failure::Panic(LEFT), Some(2), || {
        let world = World::new();
        let other = world.thread(|world| drop(world.lock.lock()));
        other.join().unwrap();
        let _forgotten = ManuallyDrop::new(world.lock.lock());
    });
}

#[test]
fn twin_lock_of_one_s_own_that_is_held() {
    fails(Failure::Panic("left at the end of the model: a lock of the model is held"), Some(2), || {
        let lock = Arc::new(model::Mutex::new(0));
        let own = lock.clone();
        model::thread::spawn(move || drop(own.lock())).join().unwrap();
        let _forgotten = ManuallyDrop::new(lock.lock());
    });
}

#[test]
fn twin_operation_that_is_not_accounted_for() {
    fails(Failure::Panic("left at the end of the model: read header is owed"), Some(2), || {
        let world = World::new();
        let store = Store::new(&world.stop).with("header", Answer::Never);
        // A table of what was asked for, which outlives the life and is never looked at again.
        let table = Arc::new(Monitor::new("table", model::Mutex::new(vec![read(&store, "header")]), &world.stop));
        let _kept = ManuallyDrop::new(table.clone());
        let other = world.thread(move |_| drop(table.lock()));
        other.join().unwrap();
    });
}

/// A model that hangs says who waits for what: loom's own message has no names.
#[test]
fn twin_that_hangs_says_who_waits() {
    let twin = || {
        let world = World::new();
        let (_kept, mut ack) = world.owed::<u32>();
        let inner = world.clone();
        let beacon = world.stop.spawn("beacon", move || {
            let held = inner.lock.lock();
            let _never = ack.wait();
            drop(held);
        });
        let dispatcher = world.stop.spawn("dispatcher", move || drop(world.lock.lock()));
        // As nobody stops them.
        drop((beacon.unwrap().join(), dispatcher.unwrap().join()));
    };
    let Some(said) = said_by(&test_of(&twin), Some(2), String::new, twin) else { return };
    assert!(said.is(Failure::Deadlock), "{}", said.text);
    for who in ["beacon waits for read", "mds_lock is held by beacon"] {
        assert!(said.stderr.contains(who), "{who}: {}", said.stderr);
    }
}
