//! Several domains: parts of a life, lives beside and after each other.
//!
//! A failure shows as a deadlock (a stop that does not reach a child), or as a wait that another domain's stop has ended.

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar as LoomCondvar, Mutex as LoomMutex};
use unwedge::model::thread;
use unwedge::{Completion, Stop, Stopped};

use crate::common::{Failure, explore, explore_as, fails, happened};
use crate::world::{World, plan};

/// A child that is made while its parent is stopped: it is found, or born stopped.
#[test]
fn child_born_during_a_request() {
    explore_as("child_born_during_a_request", "L1, L7", Some(3), || {
        let stop = Stop::new("life");
        let parent = stop.clone();
        let part = thread::spawn(move || {
            let child = parent.child("rank 0");
            let (never, mut read) = Completion::<u32>::new("read", &child);
            let outcome = read.wait();
            drop(never);
            (outcome.is_err(), child.reason())
        });
        stop.request("SIGTERM");
        let (stopped, reason) = part.join().unwrap();
        assert!(stopped);
        assert_eq!(reason.as_deref(), Some("SIGTERM"));
    });
    explore_as("grandchild_born_during_two_requests", "L1, L7", Some(2), || {
        let stop = Stop::new("life");
        let child = stop.child("rank 0");
        let parent = child.clone();
        let part = thread::spawn(move || parent.child("replay").wait_timeout(std::time::Duration::from_secs(60)));
        let other = thread::spawn(move || child.request("the rank alone"));
        stop.request("SIGTERM");
        assert!(part.join().unwrap());
        other.join().unwrap();
    });
}

/// The stop of a part ends its waits and leaves those of the whole; all at one lock and one condition variable.
#[test]
fn stop_of_one_domain_leaves_the_other() {
    explore("L1", Some(2), || {
        let world = World::new();
        let child = world.stop.child("rank 0");
        let domain = child.clone();
        let of_child = world.thread(move |world| {
            world.lock.lock_in(&domain)?.wait_while(&world.changed, |value| *value == 0).map(drop)
        });
        let of_parent =
            world.thread(|world| world.lock.lock()?.wait_while(&world.changed, |value| *value == 0).map(drop));
        child.request("the rank alone");
        assert_eq!(of_child.join().unwrap(), Err(Stopped));
        assert!(!world.stop.is_requested());
        *world.lock.lock().unwrap() = 1;
        world.changed.notify_one();
        assert_eq!(of_parent.join().unwrap(), Ok::<(), Stopped>(()));
    });
}

/// The last handle of a domain is dropped while somebody waits in it: nobody could request its stop any more.
#[test]
fn last_handle_is_dropped() {
    explore("L1", None, || {
        let stop = Stop::new("life");
        let (never, mut read) = Completion::<u32>::new("read", &stop);
        let waiter = thread::spawn(move || read.wait().is_err());
        drop(stop);
        assert!(waiter.join().unwrap());
        drop(never);
    });
}

/// A restart: the next life takes slots and lock of the last one while its stop is still under way in another thread.
#[test]
fn next_life_is_not_stopped_by_the_last() {
    explore("L1", Some(2), || {
        let first = Stop::new("first life");
        let stopper = {
            let first = first.clone();
            thread::spawn(move || first.request("SIGTERM"))
        };
        let _first_wait = first.wait_timeout(std::time::Duration::ZERO);
        drop(first);
        let second = Stop::new("second life");
        let (completer, mut read) = Completion::<u32>::new("read", &second);
        let storage = thread::spawn(move || completer.complete(1));
        assert_eq!(read.wait(), Ok(Ok(1)));
        assert!(!second.is_requested());
        storage.join().unwrap().unwrap();
        stopper.join().unwrap();
    });
}

/// A shutdown waits for the members of the children as well.
#[test]
fn shutdown_waits_for_children() {
    explore("L7", Some(2), || {
        let stop = Stop::new("life");
        let child = stop.child("rank 0");
        let own = child.clone();
        let member = child.spawn("replay", move || own.wait_timeout(std::time::Duration::from_secs(60))).unwrap();
        let report = stop.shutdown(plan());
        assert!(report.is_clean(), "{report}");
        assert!(member.is_finished());
    });
}

/// A child that looks whether its parent is stopped, and enters its list afterwards.
#[test]
fn twin_child_born_between_check_and_entry() {
    struct Child {
        stopped: LoomMutex<bool>,
        changed: LoomCondvar,
    }
    fails(Failure::LostWakeUp, Some(2), || {
        let flag = loom::sync::Arc::new(AtomicBool::new(false));
        let children = loom::sync::Arc::new(LoomMutex::new(Vec::<loom::sync::Arc<Child>>::new()));
        let (parent_flag, list) = (flag.clone(), children.clone());
        let part = thread::spawn(move || {
            let stopped = parent_flag.load(Ordering::Acquire);
            let child = loom::sync::Arc::new(Child { stopped: LoomMutex::new(stopped), changed: LoomCondvar::new() });
            list.lock().unwrap().push(child.clone());
            let mut stopped = child.stopped.lock().unwrap();
            while !*stopped {
                stopped = child.changed.wait(stopped).unwrap();
            }
        });
        flag.store(true, Ordering::Release);
        for child in children.lock().unwrap().iter() {
            *child.stopped.lock().unwrap() = true;
            child.changed.notify_all();
        }
        happened();
        part.join().unwrap();
    });
}
