//! Bodies that take any number of threads: two under loom, which explores every schedule, and many under shuttle (`shuttle-tests/`), which tries random ones.
//!
//! A failure shows as a deadlock, as a report that is not clean, as something left at the end, or as a count that is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use unwedge::model;
use unwedge::{Completion, Monitor, Spawned, Stop, Stopped};

use crate::MANY;
use crate::common::explore_as;
use crate::world::{World, later, plan, time_passes};

/// Members that wait for one thing or another, and a stopper that joins them with the lock held (L1, L2).
fn stop_reaches_all(n: usize) {
    let world = World::new();
    let mut owed = Vec::new();
    let members: Vec<_> = (0..n)
        .map(|i| {
            let inner = world.clone();
            let (completer, mut read) = world.owed::<u32>();
            owed.push(completer);
            world.stop.spawn("member", move || match i % 4 {
                0 => inner.lock.lock()?.wait_while(&inner.changed, |value| *value == 0).map(drop),
                1 => inner.lock.lock()?.wait_for(&mut read).map(drop),
                2 => inner.lock.when(|value| (*value > 0).then_some(())),
                _ => model::block_on(async { inner.lock.when_async(|value| (*value > 0).then_some(())).await }),
            })
        })
        .collect();
    let held = world.lock.lock().unwrap();
    let report = world.stop.shutdown_holding(held, plan());
    assert!(report.is_clean(), "{report}");
    drop((owed, members));
}

#[test]
fn many_are_stopped() {
    explore_as("many_are_stopped", "L1, L2", Some(1), || stop_reaches_all(MANY));
}

/// As many notifications as items, as many takers as items: every taker gets one (L3).
fn every_item_is_taken(n: usize) {
    let world = World::new();
    let takers: Vec<_> = (0..n)
        .map(|i| {
            world.thread(move |world| {
                if i % 2 == 0 {
                    *world.lock.lock()?.wait_while(&world.changed, |items| *items == 0)? -= 1;
                    return Ok(());
                }
                model::block_on(async {
                    let wait = world.lock.lock_async().await?.wait_while_async(&world.changed, |items| *items == 0);
                    *wait.await? -= 1;
                    Ok::<(), Stopped>(())
                })
            })
        })
        .collect();
    for _ in 0..n {
        *world.lock.lock().unwrap() += 1;
        world.changed.notify_one();
    }
    for taker in takers {
        assert_eq!(taker.join().unwrap(), Ok(()));
    }
    assert_eq!(*world.lock.lock().unwrap(), 0);
}

#[test]
fn many_items_are_taken() {
    explore_as("many_items_are_taken", "L3", Some(1), || every_item_is_taken(MANY));
}

/// Half of the waiters are stopped while as many notifications come as there are of the others: what reaches a stopped one goes on (L3).
fn stopped_waiters_pass_on(n: usize) {
    let world = World::new();
    let part = world.stop.child("part");
    let waiters: Vec<_> = (0..n)
        .map(|i| {
            let own = part.clone();
            world.thread(move |world| {
                let domain = if i % 2 == 0 { &own } else { &world.stop };
                let mut items = world.lock.lock_in(domain)?;
                while *items == 0 {
                    items = items.wait(&world.changed)?;
                }
                *items -= 1;
                Ok::<(), Stopped>(())
            })
        })
        .collect();
    let stopper = model::thread::spawn(move || part.request("the part ends"));
    for _ in 0..n {
        *world.lock.lock().unwrap() += 1;
        world.changed.notify_one();
    }
    let mut taken = 0;
    for (i, waiter) in waiters.into_iter().enumerate() {
        let ended = waiter.join().unwrap();
        assert!(ended.is_ok() || i % 2 == 0, "one of the other domain was stopped");
        taken += u32::from(ended.is_ok());
    }
    stopper.join().unwrap();
    assert_eq!(*world.lock.lock().unwrap() + taken, n as u32);
}

#[test]
fn many_stopped_waiters_pass_on() {
    explore_as("many_stopped_waiters_pass_on", "L3", Some(1), || stopped_waiters_pass_on(MANY));
}

/// Readers and writers over one lock, each of which gets in; readers see what writers have made whole.
fn readers_and_writers(n: usize) {
    let stop = Stop::new("life");
    let lock = Arc::new(Monitor::new("cache", model::RwLock::new((0, 0)), &stop));
    let threads: Vec<_> = (0..n)
        .map(|i| {
            let lock = lock.clone();
            model::thread::spawn(move || {
                if i % 2 == 0 {
                    let mut pair = lock.lock().unwrap();
                    pair.0 += 1;
                    pair.1 += 1;
                } else {
                    let pair = lock.read().unwrap();
                    assert_eq!(pair.0, pair.1);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(lock.read().unwrap().0, n.div_ceil(2));
}

#[test]
fn many_readers_and_writers() {
    explore_as("many_readers_and_writers", "L3", Some(2), || readers_and_writers(MANY));
}

/// Completions that are given, callbacks of others, and a stop: each callback runs once, and none after the shutdown (L5, L6).
fn callbacks_run_once(n: usize) {
    let world = World::new();
    let ran = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..n)
        .map(|_| {
            let (completer, completion) = world.owed::<u32>();
            let (seen, inner) = (ran.clone(), world.clone());
            completion
                .on_complete(&world.stop, move |result| {
                    seen.fetch_add(1, Ordering::Relaxed);
                    if let (Ok(Ok(value)), Ok(mut sum)) = (result, inner.lock.lock()) {
                        *sum += value;
                    }
                })
                .unwrap();
            model::thread::spawn(move || completer.complete(1).is_ok())
        })
        .collect();
    let report = world.stop.shutdown(plan());
    assert!(report.is_clean() && report.panicked().is_empty(), "{report}");
    assert_eq!(ran.load(Ordering::Relaxed), n);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn many_callbacks_run_once() {
    explore_as("many_callbacks_run_once", "L5, L6", Some(1), || callbacks_run_once(MANY));
}

/// Members that all shut the domain down, and one outside who does: nobody waits for itself or in a circle (L7).
fn all_shut_down(n: usize) {
    let (stop, apart) = (Stop::new("life"), Stop::new("the model"));
    let ended: Vec<Completion<()>> = (0..n)
        .map(|_| {
            let (done, is_done) = Completion::new("shutdown", &apart);
            let own = stop.clone();
            let member: Spawned<_> = stop
                .spawn("admin", move || {
                    own.shutdown(plan());
                    done.complete(())
                })
                .unwrap();
            drop(member);
            is_done
        })
        .collect();
    for mut is_done in ended {
        assert_eq!(is_done.wait(), Ok(Ok(())));
    }
    assert!(stop.shutdown(plan()).is_clean());
}

#[test]
fn many_shut_down() {
    explore_as("many_shut_down", "L7", Some(1), || all_shut_down(MANY));
}

/// Waiters with a deadline, items for half of them, and a clock: whoever goes without was told that time ran out, and no item is lost (L3, L5).
fn deadlines(n: usize) {
    let world = World::new();
    let deadline = later();
    let waiters: Vec<_> = (0..n)
        .map(|_| {
            world.thread(move |world| {
                let items = world.lock.lock().unwrap();
                let waited = items.wait_while_until(&world.changed, deadline, |items| *items == 0).unwrap();
                let mut items = waited.guard;
                if !waited.timed_out {
                    *items -= 1;
                }
                u32::from(!waited.timed_out)
            })
        })
        .collect();
    let clock = world.thread(|_| time_passes());
    for _ in 0..n / 2 {
        *world.lock.lock().unwrap() += 1;
        world.changed.notify_one();
    }
    let taken: u32 = waiters.into_iter().map(|waiter| waiter.join().unwrap()).sum();
    clock.join().unwrap();
    assert_eq!(*world.lock.lock().unwrap() + taken, (n / 2) as u32);
}

#[test]
fn many_deadlines() {
    explore_as("many_deadlines", "L3, L5", Some(1), || deadlines(MANY));
}
