//! L7, stop is always allowed: by anyone, any number of times, from a callback, from a thread of the daemon, beside another shutdown.
//!
//! A failure shows as a deadlock (somebody waits for itself, or two for each other), as a report that is not clean, or as a wrong answer.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Mutex as LoomMutex;
use unwedge::model::thread;
use unwedge::{Completion, JoinError, Spawned, Stop, Stopped};

use crate::common::{Failure, explore, explore_as, fails};
use crate::world::{World, plan};

#[test]
fn law7_two_requests() {
    explore("L7", Some(2), || {
        let world = World::new();
        let waiter = world.thread(|world| world.lock.lock()?.wait_while(&world.changed, |value| *value == 0).map(drop));
        let other = world.thread(|world| world.stop.request("the other"));
        let mine = world.stop.request("mine");
        let theirs = other.join().unwrap();
        assert!(mine != theirs, "one request is the first");
        assert_eq!(world.stop.reason().as_deref(), Some(if mine { "mine" } else { "the other" }));
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
    });
}

/// A thread of the domain requests the stop and shuts it down, beside the one who owns the domain.
#[test]
fn law7_shutdown_by_a_member() {
    explore_as("shutdown_by_a_member", "L7", Some(2), || {
        let (stop, apart) = (Stop::new("life"), Stop::new("the model"));
        let (done, mut is_done) = Completion::<bool>::new("shutdown", &apart);
        let own = stop.clone();
        let member = stop.spawn("admin", move || done.complete(own.shutdown(plan()).is_clean())).unwrap();
        let report = stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        assert_eq!(is_done.wait(), Ok(Ok(true)));
        // Now it is a member like any other.
        assert!(stop.shutdown(plan()).is_clean());
        assert!(member.is_finished());
    });
    explore_as("shutdown_by_two_members", "L7", Some(2), || {
        let (stop, apart) = (Stop::new("life"), Stop::new("the model"));
        let done = ["admin", "signals"].map(|name| {
            let (done, is_done) = Completion::<()>::new("shutdown", &apart);
            let own = stop.clone();
            let member = stop.spawn(name, move || {
                own.shutdown(plan());
                done.complete(())
            });
            drop(member);
            is_done
        });
        // Each is the other's member, and neither waits for the other's shutdown.
        for mut is_done in done {
            assert_eq!(is_done.wait(), Ok(Ok(())));
        }
        assert!(stop.shutdown(plan()).is_clean());
    });
}

/// A stop, and a whole shutdown, from a callback. (Ceph's 4773d133a7: a stop from a finisher callback joins itself.)
#[test]
fn law7_shutdown_from_a_callback() {
    explore("L7", Some(2), || {
        let world = World::new();
        let ran = Arc::new(AtomicUsize::new(0));
        let (completer, completion) = world.owed::<u32>();
        let (own, seen) = (world.stop.clone(), ran.clone());
        completion
            .on_complete(&world.stop, move |_| {
                own.request("a callback");
                assert!(own.shutdown(plan()).is_clean());
                seen.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        completer.complete(1).unwrap();
        let report = world.stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    });
}

/// Two shutdowns at the same time: one takes the callback thread and lets the last callback run, and the other does not say clean before that.
#[test]
fn law7_shutdown_waits_for_what_another_clears_away() {
    explore("L7", Some(2), || {
        let world = World::new();
        let ran = Arc::new(AtomicUsize::new(0));
        let (_completer, completion) = world.owed::<u32>();
        let seen = ran.clone();
        completion.on_complete(&world.stop, move |_| assert_eq!(seen.fetch_add(1, Ordering::Relaxed), 0)).unwrap();
        let (own, seen) = (world.stop.clone(), ran.clone());
        let shut_down = move || {
            let report = own.shutdown(plan());
            assert!(report.is_clean(), "{report}");
            assert_eq!(seen.load(Ordering::Relaxed), 1, "clean before the callback has run");
        };
        let other = thread::spawn(shut_down.clone());
        shut_down();
        other.join().unwrap();
    });
}

/// A thread that would wait for its own end gets an error.
#[test]
fn law7_join_of_itself() {
    explore("L7", Some(2), || {
        let stop = Stop::new("life");
        let own = Arc::new(LoomMutex::new(None::<Spawned<bool>>));
        let inner = own.clone();
        let member = stop.spawn("replay", move || {
            let mine = inner.lock().unwrap().take();
            mine.is_none_or(|mine| matches!(mine.join(), Err(JoinError::Itself)))
        });
        *own.lock().unwrap() = Some(member.unwrap());
        let left = own.lock().unwrap().take();
        if let Some(left) = left {
            assert!(left.join().unwrap());
        }
        assert!(stop.shutdown(plan()).is_clean());
    });
}

/// Who joins from a thread that has the ended one's slot in the registry is not told that it waits for itself.
#[test]
fn law7_join_of_one_that_ended() {
    explore("L7", Some(2), || {
        let stop = Stop::new("life");
        let first = stop.spawn("first", || 7).unwrap();
        let second = stop.spawn("second", move || first.join().map_err(|error| error.to_string())).unwrap();
        assert_eq!(second.join().unwrap(), Ok(7));
        assert!(stop.shutdown(plan()).is_clean());
    });
}

/// A thread that panics ends like any other, and the report names it. (With a lock held it cannot be modelled: loom's own mutex would be
/// poisoned by the unwinding.)
#[test]
fn law7_panicking_member() {
    explore("L7", Some(3), || {
        let stop = Stop::new("life");
        // No panic hook: it would fill the output.
        let member = stop.spawn::<()>("replay", || resume_unwind(Box::new("a member's panic"))).unwrap();
        let joiner =
            thread::spawn(move || member.join().err().is_some_and(|error| error.is_panicked() || error.is_stopped()));
        let report = stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.panicked(), ["replay"]);
        assert!(joiner.join().unwrap());
    });
}

/// A thread that is started while the shutdown runs is either waited for or stopped at its first wait; it is not forgotten.
#[test]
fn law7_spawn_beside_a_shutdown() {
    explore("L7", Some(2), || {
        let stop = Stop::new("life");
        let own = stop.clone();
        let spawner = stop.spawn("spawner", move || {
            let sleeper = own.clone();
            own.spawn("late", move || sleeper.wait_timeout(std::time::Duration::from_secs(60))).map(drop)
        });
        let report = stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        drop(spawner);
    });
}

/// A task that is dropped unfinished by its executor is off the list of members as well.
#[test]
fn law7_dropped_task_is_no_member() {
    explore("L7", Some(2), || {
        let stop = Stop::new("life");
        let (spawned, task) = stop.track("serve", std::future::pending::<()>());
        let executor = thread::spawn(move || drop(task));
        let report = stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        executor.join().unwrap();
        drop(spawned);
    });
}

/// A stop from a callback that joins the callback's own thread.
#[test]
fn twin_join_of_itself() {
    fails(Failure::Deadlock, Some(2), || {
        let own = loom::sync::Arc::new(LoomMutex::new(None::<thread::JoinHandle<()>>));
        let inner = own.clone();
        // loom's own: the model ends before it, and must not find that something is left.
        let finisher = loom::thread::spawn(move || {
            let mine = inner.lock().unwrap().take();
            if let Some(mine) = mine {
                mine.join().unwrap();
            }
        });
        *own.lock().unwrap() = Some(finisher);
    });
}

/// Two that stop the same daemon, each of which joins all of its threads.
#[test]
fn twin_two_stoppers_join_each_other() {
    fails(Failure::Deadlock, Some(2), || {
        let threads = loom::sync::Arc::new(LoomMutex::new([const { None::<thread::JoinHandle<()>> }; 2]));
        let [first, second] = [1, 0].map(|other: usize| {
            let threads = threads.clone();
            loom::thread::spawn(move || {
                let joined = threads.lock().unwrap()[other].take();
                if let Some(joined) = joined {
                    joined.join().unwrap();
                }
            })
        });
        *threads.lock().unwrap() = [Some(first), Some(second)];
    });
}

/// Who comes second finds nothing left to be joined, and takes that for the end.
#[test]
fn twin_second_shutdown_finds_nothing_left() {
    fails(Failure::Panic("clean before the callback has run"), Some(2), || {
        let ran = Arc::new(AtomicUsize::new(0));
        let inner = ran.clone();
        let callbacks = thread::spawn(move || assert_eq!(inner.fetch_add(1, Ordering::Relaxed), 0));
        let left = loom::sync::Arc::new(LoomMutex::new(Some(callbacks)));
        let shut_down = move || {
            let taken = left.lock().unwrap().take();
            if let Some(callbacks) = taken {
                callbacks.join().unwrap();
            }
            assert_eq!(ran.load(Ordering::Relaxed), 1, "clean before the callback has run");
        };
        let other = thread::spawn(shut_down.clone());
        shut_down();
        other.join().unwrap();
    });
}
