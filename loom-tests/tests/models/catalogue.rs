//! Deadlocks that Ceph's history records, as daemons meet them: the shape made with unwedge passes, the naive one is its twin.
//!
//! The numbers are those of Ceph's bug tracker. Those whose shape is a law's own are with the law: 11985 in `law1`; 16042, 16396 and 20165 in
//! `law2` and `law6`; 57764 in `law3`; the stop from a finisher in `law7`.

use std::sync::Arc;

use loom::sync::{Condvar as LoomCondvar, Mutex as LoomMutex};
use unwedge::model::{self, thread};
use unwedge::{Monitor, Stopped};

use crate::common::{Failure, explore, fails, happened};
use crate::world::{World, plan};

/// Lock-order inversion (14374): two threads block each other, as they do with any lock; the stop ends it.
#[test]
fn inverted_lock_order_is_stopped() {
    explore("L1", Some(2), || {
        let world = World::new();
        let admin = Arc::new(Monitor::new("admin_socket", model::Mutex::new(0_u32), &world.stop));
        let other = {
            let (admin, lock) = (admin.clone(), world.lock.clone());
            thread::spawn(move || {
                let first = admin.lock()?;
                let second = lock.lock()?;
                drop((second, first));
                Ok::<(), Stopped>(())
            })
        };
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        if let Ok(first) = world.lock.lock() {
            drop(admin.lock());
            drop(first);
        }
        let _passed_or_stopped = other.join().unwrap();
        stopper.join().unwrap();
    });
}

#[test]
fn twin_inverted_lock_order() {
    fails(Failure::Deadlock, Some(2), || {
        let locks = loom::sync::Arc::new((LoomMutex::new(0), LoomMutex::new(0)));
        let other = {
            let locks = locks.clone();
            thread::spawn(move || {
                let first = locks.1.lock().unwrap();
                drop(locks.0.lock());
                drop(first);
            })
        };
        let first = locks.0.lock().unwrap();
        drop(locks.1.lock());
        drop(first);
        other.join().unwrap();
    });
}

/// A hook runs and needs the big lock; who unregisters it holds the lock and waits for it to end (PR 57274).
#[test]
fn hook_is_unregistered_under_the_lock() {
    explore("L2", Some(2), || {
        let world = World::new();
        let inner = world.clone();
        let hook = world.stop.spawn("admin_socket", move || inner.lock.lock().map(|mut value| *value += 1));
        let held = world.lock.lock().unwrap();
        let report = world.stop.shutdown_holding(held, plan());
        assert!(report.is_clean(), "{report}");
        drop(hook);
    });
}

#[test]
fn twin_hook_is_unregistered_under_the_lock() {
    fails(Failure::Deadlock, Some(2), || {
        let state = loom::sync::Arc::new((LoomMutex::new(0), LoomMutex::new(false), LoomCondvar::new()));
        let hook = {
            let state = state.clone();
            thread::spawn(move || {
                *state.0.lock().unwrap() += 1;
                *state.1.lock().unwrap() = true;
                state.2.notify_all();
            })
        };
        let held = state.0.lock().unwrap();
        let mut ended = state.1.lock().unwrap();
        while !*ended {
            ended = state.2.wait(ended).unwrap();
        }
        drop((ended, held));
        hook.join().unwrap();
    });
}

/// Waits for the beacon's acknowledgement under the big lock, which the dispatcher needs to deliver it (68760).
#[test]
fn acknowledgement_is_waited_for_with_the_lock_free() {
    explore("L2", Some(2), || {
        let world = World::new();
        let (completer, mut ack) = world.owed::<u32>();
        let dispatcher = world.thread(|world| {
            let mut state = world.lock.lock().unwrap();
            *state += 1;
            completer.complete(*state)
        });
        let (state, seen) = world.lock.lock().unwrap().wait_for(&mut ack).unwrap();
        assert_eq!(seen, Ok(*state));
        drop(state);
        dispatcher.join().unwrap().unwrap();
    });
}

#[test]
fn twin_acknowledgement_under_the_lock() {
    fails(Failure::Deadlock, Some(2), || {
        let world = World::new();
        let (completer, mut ack) = world.owed::<u32>();
        let dispatcher = world.thread(|world| {
            let state = world.lock.lock().unwrap();
            completer.complete(*state)
        });
        let state = world.lock.lock().unwrap();
        assert_eq!(ack.wait(), Ok(Ok(0)));
        drop(state);
        dispatcher.join().unwrap().unwrap();
    });
}

/// A wait for recovery that comes when the recovery is over (80cf872d82).
#[test]
fn recovery_that_is_over_is_seen() {
    explore("L3", Some(3), || {
        let world = World::new();
        let recovery = world.thread(|world| *world.lock.lock().unwrap() = 1);
        assert_eq!(world.lock.when(|recovered| (*recovered == 1).then_some(())), Ok(()));
        recovery.join().unwrap();
    });
}

#[test]
fn twin_recovery_that_is_over_is_missed() {
    fails(Failure::LostWakeUp, Some(2), || {
        let world = World::new();
        let recovery = world.thread(|world| {
            *world.lock.lock().unwrap() = 1;
            world.changed.notify_all();
            happened();
        });
        // It waits for the news, and not for the state.
        drop(world.lock.lock().unwrap().wait(&world.changed));
        recovery.join().unwrap();
    });
}

/// A submitter waits for room under the big lock, and the replies that make room need the lock (71959).
#[test]
fn throttle_lets_the_lock_go() {
    explore("L2", Some(2), || {
        let world = World::new();
        *world.lock.lock().unwrap() = 1; // in flight: the limit
        let replies = world.thread(|world| {
            *world.lock.lock().unwrap() -= 1;
            world.changed.notify_one();
        });
        let mut in_flight = world.lock.lock().unwrap().wait_while(&world.changed, |in_flight| *in_flight == 1).unwrap();
        *in_flight += 1;
        drop(in_flight);
        replies.join().unwrap();
    });
}

#[test]
fn twin_throttle_under_the_lock() {
    fails(Failure::Deadlock, Some(2), || {
        let state = loom::sync::Arc::new((LoomMutex::new(0), LoomMutex::new(1), LoomCondvar::new()));
        let replies = {
            let state = state.clone();
            thread::spawn(move || {
                let held = state.0.lock().unwrap();
                *state.1.lock().unwrap() -= 1;
                state.2.notify_one();
                drop(held);
            })
        };
        let held = state.0.lock().unwrap();
        let mut in_flight = state.1.lock().unwrap();
        while *in_flight == 1 {
            in_flight = state.2.wait(in_flight).unwrap();
        }
        drop((in_flight, held));
        replies.join().unwrap();
    });
}

/// A waiter that a stop wakes with "0" takes it for success (15689). Here the type tells them apart.
#[test]
fn stop_is_not_success() {
    explore("L5", Some(3), || {
        let world = World::new();
        let (completer, mut read) = world.owed::<u32>();
        let storage = thread::spawn(move || completer.complete(0));
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        match read.wait() {
            Ok(value) => assert_eq!(value, Ok(0)),
            Err(Stopped) => assert!(world.stop.is_requested()),
        }
        storage.join().unwrap().unwrap_or_default();
        stopper.join().unwrap();
    });
}

#[test]
fn twin_stop_is_taken_for_success() {
    fails(Failure::Panic("a read that never came was taken for one"), Some(2), || {
        let result = loom::sync::Arc::new((LoomMutex::new(None::<i32>), LoomCondvar::new()));
        let stopper = {
            let result = result.clone();
            thread::spawn(move || {
                *result.0.lock().unwrap() = Some(0);
                result.1.notify_all();
            })
        };
        let mut seen = result.0.lock().unwrap();
        while seen.is_none() {
            seen = result.1.wait(seen).unwrap();
        }
        assert_ne!(*seen, Some(0), "a read that never came was taken for one");
        drop(seen);
        stopper.join().unwrap();
    });
}
