//! L3, the second half: a notification or a turn that reaches one who is just stopping, timing out or being dropped goes on to the next, of
//! another domain too.
//!
//! One token is put under the lock and one waiter is notified. Whoever gives up has not taken the token, so the other must get it. A failure
//! shows as a deadlock: the other sleeps with the token there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::sync::{Condvar as LoomCondvar, Mutex as LoomMutex};
use unwedge::model::{self, block_on, thread};
use unwedge::{Condvar, Monitor, Stop, Stopped};

use crate::common::{Failure, explore, explore_as, fails, happened};
use crate::world::{World, later, time_passes};

/// Waits for a token as a thread and takes it.
fn take(world: &World) -> Result<(), Stopped> {
    let mut guard = world.lock.lock()?.wait_while(&world.changed, |tokens| *tokens == 0)?;
    *guard -= 1;
    Ok(())
}

/// As [`take`], as a task.
async fn take_async(world: &World) -> Result<(), Stopped> {
    let guard = world.lock.lock_async().await?;
    let mut guard = guard.wait_while_async(&world.changed, |tokens| *tokens == 0).await?;
    *guard -= 1;
    Ok(())
}

fn put_one(world: &World) {
    *world.lock.lock().unwrap() += 1;
    world.changed.notify_one();
}

/// The same lock and condition variable, of which this thread waits in a domain of its own.
fn in_other_domain() -> (Stop, impl FnOnce(World) -> Result<(), Stopped>) {
    let other = Stop::new("another life");
    let domain = other.clone();
    let body = move |world: World| {
        let mut guard = world.lock.lock_in(&domain)?.wait_while(&world.changed, |tokens| *tokens == 0)?;
        *guard -= 1;
        Ok(())
    };
    (other, body)
}

#[test]
fn law3_stopped_waiter_passes_on() {
    explore("L3", Some(2), || {
        let world = World::new();
        let (other, body) = in_other_domain();
        let stopped = world.thread(body);
        let stays = world.thread(|world| take(&world));
        put_one(&world);
        other.request("SIGTERM");
        match stopped.join().unwrap() {
            // The token is there, and nobody else notifies.
            Err(Stopped) => assert_eq!(stays.join().unwrap(), Ok(())),
            Ok(()) => {
                world.stop.request("no token is left");
                assert_eq!(stays.join().unwrap(), Err(Stopped));
            }
        }
    });
}

#[test]
fn law3_timed_out_waiter_passes_on() {
    explore("L3", Some(2), || {
        let world = World::new();
        let until = later();
        let gives_up = world.thread(move |world| {
            let mut timed = world.lock.lock()?.wait_until(&world.changed, until)?;
            let taken = *timed.guard > 0 && !timed.timed_out;
            if taken {
                *timed.guard -= 1;
            }
            Ok::<bool, Stopped>(taken)
        });
        let stays = world.thread(|world| take(&world));
        put_one(&world);
        time_passes();
        if gives_up.join().unwrap() == Ok(true) {
            world.stop.request("no token is left");
            assert_eq!(stays.join().unwrap(), Err(Stopped));
        } else {
            assert_eq!(stays.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn law3_dropped_waiter_passes_on() {
    explore("L3", Some(2), || {
        let world = World::new();
        let mut dropped = world.lock.lock().unwrap().wait_async(&world.changed);
        assert!(Pin::new(&mut dropped).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let stays = world.thread(|world| take(&world));
        let notifier = world.thread(|world| put_one(&world));
        drop(dropped);
        notifier.join().unwrap();
        assert_eq!(stays.join().unwrap(), Ok(()));
    });
}

/// As [`law3_dropped_waiter_passes_on`], between tasks, and polled once more before the drop.
#[test]
fn law3_dropped_task_passes_on_to_a_task() {
    explore("L3", Some(2), || {
        let world = World::new();
        let mut dropped = world.lock.lock().unwrap().wait_async(&world.changed);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut dropped).poll(&mut cx).is_pending());
        let stays = world.thread(|world| block_on(take_async(&world)));
        let notifier = world.thread(|world| put_one(&world));
        let polled = Pin::new(&mut dropped).poll(&mut cx);
        if let Poll::Ready(Ok(guard)) = polled {
            // It was notified, has the lock, and leaves the token: so it notifies, as a user must who does not use what came.
            drop(guard);
            world.changed.notify_one();
        } else {
            drop(dropped);
        }
        notifier.join().unwrap();
        assert_eq!(stays.join().unwrap(), Ok(()));
    });
}

/// The turn at a lock goes on when the one who has it is stopped, or drops its future.
#[test]
fn law3_turn_goes_on() {
    explore_as("turn_of_a_stopped_thread", "L3", Some(2), || {
        let world = World::new();
        let other = Stop::new("another life");
        let held = world.lock.lock().unwrap();
        let domain = other.clone();
        let stopped = world.thread(move |world| world.lock.lock_in(&domain).map(drop));
        let stays = world.thread(|world| world.lock.lock().map(drop));
        drop(held);
        other.request("SIGTERM");
        let _had_it_or_not = stopped.join().unwrap();
        assert_eq!(stays.join().unwrap(), Ok(()));
    });
    explore_as("turn_of_a_dropped_task", "L3", Some(2), || {
        let world = World::new();
        let held = world.lock.lock().unwrap();
        let mut dropped = world.lock.lock_async();
        assert!(Pin::new(&mut dropped).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let stays = world.thread(|world| block_on(world.lock.lock_async()).map(drop));
        let holder = held;
        drop(holder);
        drop(dropped);
        assert_eq!(stays.join().unwrap(), Ok(()));
    });
}

/// Over a foreign lock: the notified waiter is stopped while it takes the lock again.
#[test]
fn law3_foreign_wait_passes_on() {
    explore("L3", Some(2), || {
        let (first, second) = (Stop::new("life"), Stop::new("another life"));
        let lock = Arc::new(model::Mutex::new(0_u32));
        let changed = Arc::new(Condvar::new());
        let [stopped, stays] = [&first, &second].map(|stop| {
            let (stop, lock, changed) = (stop.clone(), lock.clone(), changed.clone());
            thread::spawn(move || {
                let mut guard = lock.lock();
                while *guard == 0 {
                    guard = changed.wait(&stop, &*lock, guard)?;
                }
                *guard -= 1;
                Ok::<(), Stopped>(())
            })
        });
        *lock.lock() += 1;
        changed.notify_one();
        first.request("SIGTERM");
        if stopped.join().unwrap().is_ok() {
            second.request("no token is left");
        } else {
            assert_eq!(stays.join().unwrap(), Ok(()));
            return;
        }
        assert_eq!(stays.join().unwrap(), Err(Stopped));
    });
}

/// `when`: who is stopped, or dropped, has changed nothing, and who can go on does.
#[test]
fn law3_when_passes_on() {
    explore_as("when_beside_a_stopped", "L3", Some(2), || {
        let world = World::new();
        let other = Stop::new("another life");
        let sessions = Arc::new(Monitor::new("sessions", model::Mutex::new(0_u32), &other));
        let take = |tokens: &mut u32| tokens.checked_sub(1).map(|left| *tokens = left);
        let waiter = {
            let sessions = sessions.clone();
            thread::spawn(move || sessions.when(take))
        };
        let putter = {
            let (sessions, stop) = (sessions.clone(), world.stop.clone());
            thread::spawn(move || sessions.lock_in(&stop).map(|mut tokens| *tokens += 1))
        };
        other.request("SIGTERM");
        assert_eq!(putter.join().unwrap(), Ok(()));
        // Ok if and only if the token was taken.
        let taken = waiter.join().unwrap().is_ok();
        assert_eq!(*sessions.lock_in(&world.stop).unwrap() == 0, taken);
    });
    explore_as("when_beside_a_dropped", "L3", Some(2), || {
        let world = World::new();
        let take = |tokens: &mut u32| tokens.checked_sub(1).map(|left| *tokens = left);
        let mut dropped = world.lock.when_async(take);
        assert!(Pin::new(&mut dropped).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let stays = world.thread(move |world| world.lock.when(take));
        let putter = world.thread(|world| *world.lock.lock().unwrap() += 1);
        drop(dropped);
        putter.join().unwrap();
        assert_eq!(stays.join().unwrap(), Ok(()));
    });
}

/// A condition variable in small, with one slot a waiter, of which a stop ends the wait and the notification that came before is dropped.
#[test]
fn twin_notification_stays_with_the_stopped() {
    struct Slot {
        woken: bool,
        stopped: bool,
    }
    fails(Failure::LostWakeUp, Some(3), || {
        let slots = loom::sync::Arc::new((
            LoomMutex::new([(); 2].map(|()| Slot { woken: false, stopped: false })),
            LoomCondvar::new(),
        ));
        let [first, second] = [0, 1].map(|at| {
            let slots = slots.clone();
            thread::spawn(move || {
                let mut all = slots.0.lock().unwrap();
                while !all[at].woken && !all[at].stopped {
                    all = slots.1.wait(all).unwrap();
                }
                // A stop that came together with the notification wins, and the notification is forgotten.
                !all[at].stopped
            })
        });
        slots.0.lock().unwrap()[0].woken = true;
        happened();
        slots.0.lock().unwrap()[0].stopped = true;
        slots.1.notify_all();
        if first.join().unwrap() {
            slots.0.lock().unwrap()[1].stopped = true;
            slots.1.notify_all();
        }
        second.join().unwrap();
    });
}
