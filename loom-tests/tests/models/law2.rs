//! L2, stopped means unlocked: a wait that a stop ends does not come back for the lock, so a stopper may hold it and join.
//!
//! A failure shows as a deadlock of the stopper, who holds the lock and joins, and the waiter, who wants the lock.

use std::sync::Arc;

use loom::sync::{Condvar as LoomCondvar, Mutex as LoomMutex};
use unwedge::lock::Lock;
use unwedge::model::{self, block_on, thread};
use unwedge::{Condvar, Stop, Stopped, WaitError};

use crate::common::{Failure, explore, explore_as, fails};
use crate::world::{World, later, plan, time_passes};

/// The stopper takes the lock from who waits, requests the stop, and joins with the lock held.
fn stop_and_join_under_the_lock(name: &str, bound: Option<usize>, body: fn(World) -> Result<(), Stopped>) {
    explore_as(name, "L2", bound, move || {
        let world = World::new();
        let waiter = world.thread(body);
        let held = world.lock.lock().unwrap();
        world.stop.request("SIGTERM");
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
        drop(held);
    });
}

#[test]
fn law2_stopper_holds_the_lock_and_joins() {
    stop_and_join_under_the_lock("join_under_lock_of_condvar", Some(3), |world| {
        world.lock.lock()?.wait_while(&world.changed, |value| *value == 0).map(drop)
    });
    stop_and_join_under_the_lock("join_under_lock_of_when", Some(3), |world| {
        world.lock.when(|value| (*value != 0).then_some(()))
    });
    stop_and_join_under_the_lock("join_under_lock_of_task", Some(3), |world| {
        block_on(world.lock.when_async(|value| (*value != 0).then_some(())))
    });
}

/// A notified waiter that was moved to the lock's line when the stop comes: it gives the lock up too.
#[test]
fn law2_stop_of_a_notified_waiter() {
    explore("L2", Some(2), || {
        let world = World::new();
        let waiter = world.thread(|world| {
            let mut guard = world.lock.lock()?;
            while *guard != 2 {
                guard = guard.wait(&world.changed)?;
            }
            Ok::<(), Stopped>(())
        });
        let mut held = world.lock.lock().unwrap();
        *held = 1;
        world.changed.notify_one();
        world.stop.request("SIGTERM");
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
        drop(held);
    });
}

/// A member of the domain, and a shutdown that holds the lock.
#[test]
fn law2_shutdown_holding_the_lock() {
    explore("L2", Some(2), || {
        let world = World::new();
        let inner = world.clone();
        let member = world
            .stop
            .spawn("replay", move || inner.lock.lock()?.wait_while(&inner.changed, |value| *value == 0).map(drop));
        let held = world.lock.lock().unwrap();
        let report = world.stop.shutdown_holding(held, plan());
        assert!(report.is_clean(), "{report}");
        drop(member);
    });
}

/// A timeout is different: the lock comes back, and a stop that comes while it is taken again still ends the wait without it.
#[test]
fn law2_timeout_gives_the_lock_back() {
    explore("L2", Some(3), || {
        let world = World::new();
        let until = later();
        let waiter = world.thread(move |world| {
            let timed = world.lock.lock()?.wait_until(&world.changed, until)?;
            let mut guard = timed.guard;
            assert!(timed.timed_out, "nobody notifies");
            *guard += 1;
            Ok::<(), Stopped>(())
        });
        time_passes();
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert_eq!(*world.lock.lock().unwrap(), 1);
    });
}

#[test]
fn law2_timeout_whose_relock_is_stopped() {
    explore("L2", Some(2), || {
        let world = World::new();
        let until = later();
        let waiter = world.thread(move |world| {
            let timed = world.lock.lock()?.wait_until(&world.changed, until)?;
            assert!(timed.timed_out, "nobody notifies");
            Ok::<(), Stopped>(())
        });
        let held = world.lock.lock().unwrap();
        time_passes();
        world.stop.request("SIGTERM");
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
        drop(held);
    });
}

/// The lock's own deadline gives up without the lock, whatever the stop does.
#[test]
fn law2_lock_until() {
    explore("L2", Some(3), || {
        let world = World::new();
        let held = world.lock.lock().unwrap();
        let until = later();
        let waiter = world.thread(move |world| world.lock.lock_until(until).map(drop));
        time_passes();
        assert_eq!(waiter.join().unwrap(), Err(WaitError::TimedOut));
        drop(held);
    });
}

/// Over a foreign lock that is taken again the plain way: a stop that comes before the notification never touches the lock.
#[test]
fn law2_foreign_lock_held_by_the_stopper() {
    explore("L2", Some(3), || {
        let (stop, lock, changed) = (Stop::new("life"), Arc::new(model::Mutex::new(0)), Arc::new(Condvar::new()));
        let waiter = {
            let (stop, lock) = (stop.clone(), lock.clone());
            thread::spawn(move || {
                // Without the lock already: this model is about the wait.
                let guard = lock.try_lock().ok_or(Stopped)?;
                changed.wait(&stop, &*lock, guard).map(drop)
            })
        };
        let held = lock.lock();
        stop.request("SIGTERM");
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
        drop(held);
    });
}

/// C++'s `condition_variable_any` with a stop token, and every naive one: it takes the lock again after the stop.
#[test]
fn twin_relock_after_the_stop() {
    fails(Failure::Deadlock, Some(2), || {
        let world = World::new();
        let mutex = loom::sync::Arc::new((LoomMutex::new(0), LoomCondvar::new()));
        let waiter = {
            let (mutex, stop) = (mutex.clone(), world.stop.clone());
            thread::spawn(move || {
                let mut guard = mutex.0.lock().unwrap();
                while *guard == 0 && !stop.is_requested() {
                    guard = mutex.1.wait(guard).unwrap();
                }
            })
        };
        let held = mutex.0.lock().unwrap();
        world.stop.request("SIGTERM");
        mutex.1.notify_all();
        waiter.join().unwrap();
        drop(held);
    });
}

/// Waits that end with the stop are not enough: a plain lock before the wait waits for the stopper, who joins. (Ceph's trackers 16042, 16396.)
#[test]
fn twin_plain_lock() {
    fails(Failure::Deadlock, Some(2), || {
        let stop = Stop::new("life");
        let lock = Arc::new(model::Mutex::new(0));
        let held = lock.lock();
        let finisher = {
            let lock = lock.clone();
            thread::spawn(move || *lock.lock() += 1)
        };
        stop.request("SIGTERM");
        finisher.join().unwrap();
        drop(held);
    });
}

/// Wait on I/O that the stop cannot reach, then join: what was measured in ceph-mds (22 of the catalogue).
#[test]
fn twin_wait_for_storage_that_no_stop_reaches() {
    fails(Failure::Deadlock, Some(2), || {
        let stop = Stop::new("life");
        let answered = loom::sync::Arc::new((LoomMutex::new(None::<u32>), LoomCondvar::new()));
        let load = {
            let answered = answered.clone();
            thread::spawn(move || {
                let mut answer = answered.0.lock().unwrap();
                while answer.is_none() {
                    answer = answered.1.wait(answer).unwrap();
                }
            })
        };
        stop.request("SIGTERM");
        load.join().unwrap();
    });
}
