//! Notifications among waiters of which some are stopped, time out or are dropped: none is lost.
//!
//! A producer makes one token at a time and notifies once; it makes the next when the token was taken. Steady consumers take it. Fickle waiters
//! wait on the same condition variable, take nothing, give up in every way there is, and notify again if they were notified: so one notification
//! that stays with a waiter that gave up is a hang.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Instant;

use unwedge::lock::{ForeignLock, LockData};
use unwedge::{Condvar, Monitor, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::{Random, TIME};

#[derive(Default)]
struct Tokens {
    /// 0 or 1.
    there: u32,
    made: u64,
    taken: u64,
    closed: bool,
}

impl Tokens {
    /// Takes the token if there is one; `None` when there will be no more.
    fn take(&mut self) -> Option<bool> {
        if self.there == 0 {
            return (!self.closed).then_some(false);
        }
        self.there -= 1;
        self.taken += 1;
        Some(true)
    }
}

struct World<L> {
    tokens: Monitor<L>,
    changed: Condvar,
    over: AtomicBool,
}

/// Waits once and gives up in a random way; notifies again if it was notified.
fn fickle<L: LockData<Data = Tokens> + Send + Sync + 'static>(world: &World<L>, stop: &Stop, random: &Random) {
    let way = random.below(4);
    if way == 0 {
        // A thread with a deadline.
        let Ok(guard) = world.tokens.lock() else { return };
        match guard.wait_until(&world.changed, random.deadline()) {
            Ok(back) if back.timed_out => {}
            _ => {
                world.changed.notify_one();
            }
        }
        return;
    }
    // The other ways are futures: dropped at once, after a poll, or after something else has happened.
    let part = stop.child("part");
    let Ok(guard) = world.tokens.lock_in(&part) else { return };
    let mut wait = guard.wait_async(&world.changed);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..random.below(4) {
        if Pin::new(&mut wait).poll(&mut context).is_ready() {
            world.changed.notify_one();
            return;
        }
        random.pause();
    }
    if way == 1 {
        part.request("fickle");
    }
    // Stopped or not, it passes on what it has.
    drop(wait);
}

fn run<L: LockData<Data = Tokens> + Send + Sync + 'static>(lock: L, seed: u64)
where
    for<'a> L::Guard<'a>: std::ops::DerefMut<Target = Tokens>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let _in_runtime = runtime.enter();
    let stop = Stop::new("stress");
    let world = Arc::new(World {
        tokens: Monitor::new("tokens", lock, &stop),
        changed: Condvar::new(),
        over: AtomicBool::new(false),
    });
    for _ in 0..2 {
        let w = world.clone();
        drop(stop.spawn("steady", move || {
            loop {
                let guard = w.tokens.lock()?;
                let mut guard = guard.wait_while(&w.changed, |tokens| tokens.there == 0 && !tokens.closed)?;
                if guard.take().is_none() {
                    return Ok::<(), unwedge::Stopped>(());
                }
            }
        }));
        let w = world.clone();
        drop(stop.spawn_task("steady", async move {
            loop {
                let wait = w.tokens.lock_async().await?;
                let wait = wait.wait_while_async(&w.changed, |tokens| tokens.there == 0 && !tokens.closed);
                if wait.await?.take().is_none() {
                    return Ok::<(), unwedge::Stopped>(());
                }
            }
        }));
    }
    for number in 0..3 {
        let (w, own) = (world.clone(), stop.clone());
        drop(stop.spawn("fickle", move || {
            let random = Random::new(seed + number);
            while !w.over.load(SeqCst) {
                fickle(&w, &own, &random);
                random.pause();
            }
        }));
    }
    let random = Random::new(seed + 100);
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let mut guard = world.tokens.lock().expect("not stopped");
        guard.there = 1;
        guard.made += 1;
        if random.below(2) == 0 {
            world.changed.notify_one();
            drop(guard);
        } else {
            drop(guard);
            world.changed.notify_one();
        }
        // If the notification stayed with somebody who gave up, nobody takes the token, and this is a hang.
        world.tokens.when(|tokens| (tokens.there == 0).then_some(())).expect("not stopped");
    }
    world.over.store(true, SeqCst);
    world.tokens.lock().expect("not stopped").closed = true;
    // Each is woken, whoever waits: the fickle ones are over, or will be when they have tried once more.
    while stop.report().members().iter().any(|member| member.name == "steady") {
        world.changed.notify_all();
        std::thread::yield_now();
    }
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
    let tokens = world.tokens.lock_in(&Stop::new("next")).map(|tokens| (tokens.made, tokens.taken)).expect("free");
    assert_eq!(tokens.0, tokens.1);
    assert!(tokens.0 > 100, "too few rounds to mean anything: {}", tokens.0);
}

#[test]
fn none_is_lost_over_std() {
    guarded(|| run(Mutex::new(Tokens::default()), 1));
}

#[test]
fn none_is_lost_over_parking_lot() {
    guarded(|| run(parking_lot::Mutex::new(Tokens::default()), 2));
}

#[test]
fn none_is_lost_over_tokio() {
    guarded(|| run(tokio::sync::RwLock::new(Tokens::default()), 3));
}

/// The same over a lock that unwedge does not own, with threads alone.
fn foreign<L: ForeignLock + LockData<Data = Tokens> + Send + Sync + 'static>(lock: L, seed: u64)
where
    for<'a> L::Guard<'a>: std::ops::DerefMut<Target = Tokens>,
{
    fn take<L: ForeignLock>(lock: &L) -> L::Guard<'_> {
        lock.lock_until(Instant::now() + GUARD).expect("free soon")
    }
    let stop = Stop::new("stress");
    let world = Arc::new((lock, Condvar::new(), Condvar::new(), AtomicBool::new(false)));
    for _ in 0..2 {
        let (w, own) = (world.clone(), stop.clone());
        drop(stop.spawn("steady", move || {
            let (lock, changed, taken, _) = &*w;
            let mut guard = take(lock);
            while let Some(had) = guard.take() {
                if had {
                    taken.notify_one();
                } else {
                    guard = changed.wait(&own, lock, guard)?;
                }
            }
            Ok::<(), unwedge::Stopped>(())
        }));
    }
    for number in 0..3 {
        let (w, own) = (world.clone(), stop.clone());
        drop(stop.spawn("fickle", move || {
            let random = Random::new(seed + number);
            let (lock, changed, _, over) = &*w;
            while !over.load(SeqCst) {
                let part = own.child("part");
                let guard = take(lock);
                if random.below(8) == 0 {
                    // Stopped by another thread while it waits, or just before.
                    let other = part.clone();
                    let stopper = std::thread::spawn(move || other.request("fickle"));
                    if changed.wait(&part, lock, guard).is_ok() {
                        changed.notify_one();
                    }
                    stopper.join().expect("no panic");
                } else if changed.wait_until(&part, lock, guard, random.deadline()).is_ok_and(|back| !back.timed_out) {
                    changed.notify_one();
                }
            }
        }));
    }
    let (lock, changed, taken, over) = &*world;
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let mut guard = take(lock);
        guard.there = 1;
        guard.made += 1;
        changed.notify_one();
        while guard.there != 0 {
            guard = taken.wait(&stop, lock, guard).expect("not stopped");
        }
    }
    over.store(true, SeqCst);
    take(lock).closed = true;
    while !stop.report().members().is_empty() {
        changed.notify_all();
        std::thread::yield_now();
    }
    let tokens = take(lock);
    assert_eq!(tokens.made, tokens.taken);
    assert!(tokens.made > 20, "too few rounds to mean anything: {}", tokens.made);
}

#[test]
fn none_is_lost_over_a_foreign_std_mutex() {
    guarded(|| foreign(Mutex::new(Tokens::default()), 4));
}

#[test]
fn none_is_lost_over_a_foreign_parking_lot_mutex() {
    guarded(|| foreign(parking_lot::Mutex::new(Tokens::default()), 5));
}
