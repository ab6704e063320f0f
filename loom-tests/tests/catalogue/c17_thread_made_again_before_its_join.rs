//! 17: tracker 14144. In standby-replay the replay thread is made again, for the next round, before the old one is joined.
//!
//! Cause: one object stands for a thread and for all that come after it. Cure: each `spawn` gives a `Spawned` of its own, and the domain joins every thread that
//! has ended, whether or not anybody asks: to start the next one there is nothing to be joined first.

use std::sync::Arc;

use crate::common::{Failure, explore, fails};
use crate::naive::{Condvar, Mutex, Thread, spawn};
use crate::world::{World, plan};

#[test]
fn c17_next_round_needs_no_join() {
    explore("L7", Some(2), || {
        let world = World::new();
        let round = |world: &World| {
            let inner = world.clone();
            world.stop.spawn("replay", move || {
                *inner.lock.lock()? += 1;
                Ok::<(), unwedge::Stopped>(())
            })
        };
        let first = round(&world).unwrap();
        // It has given its result, or nearly; nobody joins it.
        world.lock.when(|rounds| (*rounds == 1).then_some(())).unwrap();
        drop(first);
        let second = round(&world).unwrap();
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        drop(second);
    });
}

/// A thread's object, as the daemon keeps it.
struct Replay {
    thread: Mutex<Option<Thread>>,
    done: Mutex<bool>,
    changed: Condvar,
}

impl Replay {
    fn create(self: &Arc<Self>, who: &str) {
        let mut thread = self.thread.lock();
        assert!(thread.is_none(), "{who} makes replay again before the old one is joined");
        let own = self.clone();
        *thread = Some(spawn("replay", move || {
            *own.done.lock() = true;
            own.changed.notify_all();
        }));
    }

    fn wait_done(&self) {
        let mut done = self.done.lock();
        while !*done {
            done = self.changed.wait(done);
        }
    }
}

#[test]
fn c17_twin() {
    fails(Failure::Panic("tick makes replay again before the old one is joined"), Some(2), || {
        let replay = Arc::new(Replay {
            thread: Mutex::new("replay's thread", None),
            done: Mutex::new("replay's lock", false),
            changed: Condvar::new("the end of the round"),
        });
        replay.create("boot");
        let own = replay.clone();
        let tick = spawn("tick", move || {
            own.wait_done();
            own.create("tick");
        });
        // The one that joins, and is in time only by luck.
        replay.wait_done();
        let old = replay.thread.lock().take();
        old.into_iter().for_each(Thread::join);
        tick.join();
        let new = replay.thread.lock().take();
        new.into_iter().for_each(Thread::join);
    });
}
