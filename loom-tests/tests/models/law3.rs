//! L3, no wake-up is lost: between an unlock and who queues for the lock, and between a notification and who begins to wait.
//!
//! A failure shows as a deadlock: a thread sleeps beside a free lock, or beside a condition that holds. Where a wake-up has to move on to
//! another waiter: `passing`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Condvar as LoomCondvar, Mutex as LoomMutex};
use unwedge::Stopped;
use unwedge::model::{block_on, thread};

use crate::common::{Failure, explore, explore_as, fails, happened};
use crate::world::{World, later, time_passes};

/// Two take and let go of the lock: whoever queues is woken by the other's unlock.
#[test]
fn law3_unlock_wakes_who_queues() {
    explore_as("unlock_wakes_thread", "L3", None, || {
        let world = World::new();
        let other = world.thread(|world| *world.lock.lock().unwrap() += 1);
        *world.lock.lock().unwrap() += 1;
        other.join().unwrap();
        assert_eq!(*world.lock.lock().unwrap(), 2);
    });
    explore_as("unlock_wakes_task", "L3", Some(3), || {
        let world = World::new();
        let other = world.thread(|world| *block_on(world.lock.lock_async()).unwrap() += 1);
        *world.lock.lock().unwrap() += 1;
        other.join().unwrap();
        assert_eq!(*world.lock.lock().unwrap(), 2);
    });
    explore_as("unlock_wakes_three", "L3", Some(2), || {
        let world = World::new();
        let others = [(); 2].map(|()| world.thread(|world| *world.lock.lock().unwrap() += 1));
        *world.lock.lock().unwrap() += 1;
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(*world.lock.lock().unwrap(), 3);
    });
}

/// The lock's deadline against the unlock: in no case does the lock stay out of reach of the next.
#[test]
fn law3_lock_until_and_unlock() {
    explore("L3", Some(2), || {
        let world = World::new();
        let until = later();
        let held = world.lock.lock().unwrap();
        let first = world.thread(move |world| world.lock.lock_until(until).map(drop));
        let second = world.thread(|world| world.lock.lock().map(drop));
        time_passes();
        drop(held);
        let _had_it_or_not = first.join().unwrap();
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}

/// The state changes under the lock, the notification comes under it or after it, and who waits comes at any point.
#[test]
fn law3_notification_reaches_who_registers() {
    for (name, under) in [("notify_under_lock", true), ("notify_after_unlock", false)] {
        explore_as(name, "L3", Some(3), move || {
            let world = World::new();
            let waiter =
                world.thread(|world| world.lock.lock()?.wait_while(&world.changed, |value| *value == 0).map(drop));
            let mut guard = world.lock.lock().unwrap();
            *guard = 1;
            if !under {
                drop(guard);
                world.changed.notify_one();
            } else {
                world.changed.notify_one();
                drop(guard);
            }
            assert_eq!(waiter.join().unwrap(), Ok::<(), Stopped>(()));
        });
    }
}

#[test]
fn law3_notification_reaches_tasks_and_all() {
    explore_as("notify_task", "L3", Some(3), || {
        let world = World::new();
        let waiter = world.thread(|world| {
            block_on(async {
                let guard = world.lock.lock_async().await?;
                guard.wait_while_async(&world.changed, |value| *value == 0).await.map(drop)
            })
        });
        *world.lock.lock().unwrap() = 1;
        world.changed.notify_one();
        assert_eq!(waiter.join().unwrap(), Ok::<(), Stopped>(()));
    });
    explore_as("notify_all", "L3", Some(2), || {
        let world = World::new();
        let thread = world.thread(|world| world.lock.lock()?.wait_while(&world.changed, |value| *value == 0).map(drop));
        let task = world.thread(|world| {
            block_on(async {
                let guard = world.lock.lock_async().await?;
                guard.wait_while_async(&world.changed, |value| *value == 0).await.map(drop)
            })
        });
        *world.lock.lock().unwrap() = 1;
        world.changed.notify_all();
        assert_eq!(thread.join().unwrap(), Ok::<(), Stopped>(()));
        assert_eq!(task.join().unwrap(), Ok::<(), Stopped>(()));
    });
}

/// `when` needs no notification: a guard that was dereferenced mutably makes those who wait look again.
#[test]
fn law3_when_looks_again() {
    explore_as("when_of_thread", "L3", Some(3), || {
        let world = World::new();
        let waiter = world.thread(|world| world.lock.when(|value| (*value == 1).then_some(7)));
        *world.lock.lock().unwrap() = 1;
        assert_eq!(waiter.join().unwrap(), Ok(7));
    });
    explore_as("when_of_task", "L3", Some(3), || {
        let world = World::new();
        let waiter = world.thread(|world| block_on(world.lock.when_async(|value| (*value == 1).then_some(7))));
        *world.lock.lock().unwrap() = 1;
        assert_eq!(waiter.join().unwrap(), Ok(7));
    });
    explore_as("when_after_when", "L3", Some(2), || {
        let world = World::new();
        let second = world.thread(|world| world.lock.when(|value| (*value == 2).then_some(())));
        let first = world.thread(|world| world.lock.when(|value| (*value == 1).then(|| *value = 2)));
        *world.lock.lock().unwrap() = 1;
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (Ok(()), Ok(())));
    });
}

/// A task that was woken and that nobody polls does not keep the lock from a thread behind it.
#[test]
fn law3_turn_of_a_task_that_nobody_polls() {
    explore("L3", Some(3), || {
        let world = World::new();
        let held = world.lock.lock().unwrap();
        let mut idle = world.lock.lock_async();
        assert!(Pin::new(&mut idle).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let behind = world.thread(|world| world.lock.lock().map(drop));
        drop(held);
        assert_eq!(behind.join().unwrap(), Ok(()));
        drop(idle);
    });
}

/// The line of a monitor in small: a lock, a word that says whether somebody needs it, a sleeper.
struct Line {
    locked: AtomicU32,
    need: AtomicU32,
    token: LoomMutex<bool>,
    woken: LoomCondvar,
    /// Whether who queues passes a barrier.
    queues_with_barrier: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Look {
    /// As shipped while somebody has queued lately: a read-modify-write after the unlock.
    ReadModifyWrite,
    /// As shipped otherwise: a load behind the light side of a barrier, of which who queues passes the heavy one.
    Barrier,
    /// What looks cheaper.
    Load,
}

impl Line {
    fn new(queues_with_barrier: bool) -> Self {
        Line {
            locked: AtomicU32::new(1),
            need: AtomicU32::new(0),
            token: LoomMutex::new(false),
            woken: LoomCondvar::new(),
            queues_with_barrier,
        }
    }

    fn try_lock(&self) -> bool {
        self.locked.compare_exchange(0, 1, Ordering::Acquire, Ordering::Acquire).is_ok()
    }

    fn lock(&self) {
        while !self.try_lock() {
            self.need.fetch_or(1, Ordering::AcqRel);
            if self.queues_with_barrier {
                fence(Ordering::SeqCst);
            }
            if self.try_lock() {
                return;
            }
            let mut token = self.token.lock().unwrap();
            while !*token {
                token = self.woken.wait(token).unwrap();
            }
            *token = false;
        }
    }

    fn unlock(&self, look: Look) {
        self.locked.store(0, Ordering::Release);
        happened();
        let need = match look {
            Look::ReadModifyWrite => self.need.fetch_and(0, Ordering::AcqRel),
            Look::Barrier => {
                fence(Ordering::SeqCst);
                self.need.load(Ordering::Relaxed)
            }
            Look::Load => self.need.load(Ordering::Acquire),
        };
        if need != 0 {
            *self.token.lock().unwrap() = true;
            self.woken.notify_one();
        }
    }

    fn race(look: Look, queues_with_barrier: bool) {
        let line = loom::sync::Arc::new(Line::new(queues_with_barrier));
        let other = {
            let line = line.clone();
            thread::spawn(move || line.lock())
        };
        line.unlock(look);
        other.join().unwrap();
    }

    /// Who comes to a closed line takes the lock, looks at the line's word, and gives the lock back (`Monitor::try_raw`): here, while the one for whom it is
    /// closed has its turn.
    fn barge(give_back: fn(&Line)) {
        let line = loom::sync::Arc::new(Line::new(false));
        let closed_for = {
            let line = line.clone();
            thread::spawn(move || line.lock())
        };
        line.unlock(Look::ReadModifyWrite);
        if line.try_lock() {
            give_back(&line);
        }
        closed_for.join().unwrap();
    }
}

/// The small line as shipped passes: what fails in its twins is what they do otherwise.
#[test]
fn law3_line() {
    explore_as("line_alert", "L3", None, || Line::race(Look::ReadModifyWrite, false));
    explore_as("line_quiet", "L3", None, || Line::race(Look::Barrier, true));
}

#[test]
fn law3_barger_at_a_closed_line() {
    explore("L3", None, || Line::barge(|line| line.unlock(Look::ReadModifyWrite)));
}

/// The one who runs ahead gives back what it should not have taken as if nobody could have missed it meanwhile.
#[test]
fn twin_barger_that_wakes_nobody() {
    fails(Failure::LostWakeUp, None, || {
        Line::barge(|line| {
            line.locked.store(0, Ordering::Release);
            happened();
        });
    });
}

#[test]
fn twin_unlock_with_a_load() {
    fails(Failure::LostWakeUp, None, || Line::race(Look::Load, false));
}

/// The unlock is as shipped, and who queues relies on its read-modify-write alone.
#[test]
fn twin_queued_without_a_barrier() {
    fails(Failure::LostWakeUp, None, || Line::race(Look::Barrier, false));
}

/// Ceph's tracker 57764: looks, and then registers, with the event in between.
#[test]
fn twin_check_then_register() {
    fails(Failure::LostWakeUp, Some(2), || {
        let ready = loom::sync::Arc::new((LoomMutex::new(false), LoomMutex::new(()), LoomCondvar::new()));
        let waiter = {
            let ready = ready.clone();
            thread::spawn(move || {
                let is_ready = *ready.0.lock().unwrap();
                if !is_ready {
                    drop(ready.2.wait(ready.1.lock().unwrap()).unwrap());
                }
            })
        };
        *ready.0.lock().unwrap() = true;
        ready.2.notify_all();
        happened();
        waiter.join().unwrap();
    });
}

/// The same with what is shipped: the state is looked at under another lock than the one that the wait lets go.
#[test]
fn twin_state_under_another_lock() {
    fails(Failure::LostWakeUp, Some(2), || {
        let world = World::new();
        let ready = std::sync::Arc::new(AtomicU32::new(0));
        let (seen, inner) = (ready.clone(), world.clone());
        let waiter = thread::spawn(move || {
            let guard = inner.lock.lock().unwrap();
            if seen.load(Ordering::Acquire) == 0 {
                drop(guard.wait(&inner.changed));
            }
        });
        ready.store(1, Ordering::Release);
        world.changed.notify_all();
        happened();
        waiter.join().unwrap();
    });
}
