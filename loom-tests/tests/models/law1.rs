//! L1, nobody is stranded: a stop reaches every kind of wait, at whatever point it comes.
//!
//! A failure shows as a deadlock: the waiter sleeps, and who requested the stop waits for it to end.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Condvar as LoomCondvar, Mutex as LoomMutex};
use unwedge::model::{self, block_on, thread};
use unwedge::{Completion, Condvar, JoinError, Stop, Stopped};

use crate::common::{Failure, explore, explore_as, fails};
use crate::world::{World, plan};

/// A wait that only a stop can end, and whether the stop did.
type Wait = fn(World, Completion<u32>) -> bool;

/// The stop comes at any point of the wait; nobody holds the lock.
fn reaches(name: &str, bound: Option<usize>, wait: Wait) {
    explore_as(name, "L1", bound, move || {
        let world = World::new();
        let (never, completion) = world.owed();
        let waiter = world.thread(move |world| wait(world, completion));
        world.stop.request("SIGTERM");
        assert!(waiter.join().unwrap(), "the wait ended, and not by the stop");
        drop(never);
    });
}

/// As [`reaches`], while somebody holds the lock and waits for the waiter to end (L2).
fn reaches_beside_a_holder(name: &str, bound: Option<usize>, wait: Wait) {
    explore_as(name, "L1, L2", bound, move || {
        let world = World::new();
        let (never, completion) = world.owed();
        let held = world.lock.lock().unwrap();
        let waiter = world.thread(move |world| wait(world, completion));
        world.stop.request("SIGTERM");
        assert!(waiter.join().unwrap(), "the wait ended, and not by the stop");
        drop((held, never));
    });
}

#[test]
fn law1_stop_reaches_every_wait() {
    reaches("stop_reaches_completion", None, |_, mut completion| completion.wait().is_err());
    reaches("stop_reaches_completion_of_a_task", None, |_, completion| block_on(completion).is_err());
    reaches("stop_reaches_sleep", None, |world, _| world.stop.wait_timeout(std::time::Duration::from_secs(60)));
    reaches("stop_reaches_requested", None, |world, _| {
        block_on(world.stop.requested());
        true
    });
}

#[test]
fn law1_stop_reaches_every_wait_in_a_monitor() {
    reaches("stop_reaches_condvar", Some(3), |world, _| wait_changed(&world).is_err());
    reaches("stop_reaches_condvar_of_a_task", Some(3), |world, _| block_on(wait_changed_async(&world)).is_err());
    reaches("stop_reaches_when", Some(3), |world, _| world.lock.when(|value| (*value != 0).then_some(())).is_err());
    reaches("stop_reaches_when_of_a_task", Some(3), |world, _| {
        block_on(world.lock.when_async(|value| (*value != 0).then_some(()))).is_err()
    });
    reaches("stop_reaches_wait_for", Some(3), |world, mut completion| match world.lock.lock() {
        Ok(guard) => guard.wait_for(&mut completion).is_err(),
        Err(Stopped) => true,
    });
}

#[test]
fn law1_stop_reaches_every_wait_for_a_lock() {
    reaches_beside_a_holder("stop_reaches_lock", None, |world, _| world.lock.lock().is_err());
    reaches_beside_a_holder("stop_reaches_lock_of_a_task", Some(3), |world, _| {
        block_on(world.lock.lock_async()).is_err()
    });
    reaches_beside_a_holder("stop_reaches_when_that_has_no_lock", Some(3), |world, _| {
        world.lock.when(|_| Some(())).is_err()
    });
}

fn wait_changed(world: &World) -> Result<(), Stopped> {
    world.lock.lock()?.wait_while(&world.changed, |value| *value == 0).map(drop)
}

async fn wait_changed_async(world: &World) -> Result<(), Stopped> {
    let guard = world.lock.lock_async().await?;
    guard.wait_while_async(&world.changed, |value| *value == 0).await.map(drop)
}

/// Over a lock that unwedge does not own: the stop returns without it.
#[test]
fn law1_stop_reaches_a_wait_over_a_foreign_lock() {
    explore("L1", Some(3), || {
        let (stop, lock, changed) = (Stop::new("life"), Arc::new(model::Mutex::new(0)), Arc::new(Condvar::new()));
        let waiter = {
            let (stop, lock, changed) = (stop.clone(), lock.clone(), changed.clone());
            thread::spawn(move || {
                let mut guard = lock.lock();
                while *guard == 0 {
                    match changed.wait(&stop, &*lock, guard) {
                        Ok(again) => guard = again,
                        Err(Stopped) => return true,
                    }
                }
                false
            })
        };
        stop.request("SIGTERM");
        assert!(waiter.join().unwrap());
    });
}

/// Who waits for a thread to end is reached as well, though that thread does not end.
#[test]
fn law1_stop_reaches_a_join() {
    explore("L1", Some(2), || {
        let stop = Stop::new("life");
        let apart = Stop::new("another life");
        let (owed, mut completion) = Completion::<u32>::new("read", &apart);
        let stuck = stop.spawn("stuck", move || completion.wait().is_ok()).unwrap();
        let joiner = thread::spawn(move || matches!(stuck.join(), Err(JoinError::Stopped)));
        stop.request("SIGTERM");
        assert!(joiner.join().unwrap(), "the join ended, and not by the stop");
        owed.complete(1).unwrap();
        assert!(stop.shutdown(plan()).is_clean());
    });
}

/// The state word in small: what `wait::waiter` does, with what can be done wrong as a parameter.
struct Protocol {
    word: AtomicU64,
    flag: AtomicBool,
    token: LoomMutex<bool>,
    woken: LoomCondvar,
}

const IDLE: u64 = 0;
const WAITING: u64 = 1;
const STOPPED: u64 = 2;

#[derive(Clone, Copy, PartialEq)]
enum Publish {
    /// As shipped: a store, the barrier, a look at the flag.
    StoreThenLook,
    /// The flag is looked at before the word is published: check, then register.
    LookThenStore,
    /// No barrier: the store may be seen after the look.
    WithoutABarrier,
}

/// What each side of the asymmetric barrier is in a model.
fn barrier() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

impl Protocol {
    fn new() -> Self {
        Protocol {
            word: AtomicU64::new(IDLE),
            flag: AtomicBool::new(false),
            token: LoomMutex::new(false),
            woken: LoomCondvar::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    fn wait(&self, publish: Publish) {
        let early = publish == Publish::LookThenStore && self.is_over();
        self.word.store(WAITING, Ordering::Release);
        if publish != Publish::WithoutABarrier {
            barrier();
        }
        let over = if publish == Publish::LookThenStore { early } else { self.is_over() };
        if over {
            return;
        }
        let mut token = self.token.lock().unwrap();
        while !*token {
            token = self.woken.wait(token).unwrap();
        }
    }

    fn stop(&self, publish: Publish) {
        self.flag.store(true, Ordering::Release);
        if publish != Publish::WithoutABarrier {
            barrier();
        }
        if self.word.load(Ordering::Acquire) == WAITING {
            self.word.swap(STOPPED, Ordering::AcqRel);
            *self.token.lock().unwrap() = true;
            self.woken.notify_one();
        }
        crate::common::happened();
    }

    fn race(publish: Publish) {
        let protocol = loom::sync::Arc::new(Protocol::new());
        let waiter = {
            let protocol = protocol.clone();
            thread::spawn(move || protocol.wait(publish))
        };
        protocol.stop(publish);
        waiter.join().unwrap();
    }
}

/// The small protocol as shipped passes: what fails in its twins is what they do otherwise.
#[test]
fn law1_protocol() {
    explore("L1", None, || Protocol::race(Publish::StoreThenLook));
}

#[test]
fn twin_flag_looked_at_before_the_word_is_published() {
    fails(Failure::LostWakeUp, None, || Protocol::race(Publish::LookThenStore));
}

#[test]
fn twin_publish_without_a_barrier() {
    fails(Failure::LostWakeUp, None, || Protocol::race(Publish::WithoutABarrier));
}

/// Ceph's tracker 11985: the stop does not wake the thread that waits for readable data, and joins it.
#[test]
fn twin_stop_that_wakes_nobody() {
    fails(Failure::Deadlock, Some(2), || {
        let stop = Stop::new("life");
        let readable = loom::sync::Arc::new((LoomMutex::new(false), LoomCondvar::new()));
        let replay = {
            let (stop, readable) = (stop.clone(), readable.clone());
            thread::spawn(move || {
                let mut is_readable = readable.0.lock().unwrap();
                while !*is_readable && !stop.is_requested() {
                    is_readable = readable.1.wait(is_readable).unwrap();
                }
            })
        };
        stop.request("SIGTERM");
        replay.join().unwrap();
    });
}
