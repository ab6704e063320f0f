//! Order: first come, first served; who is overtaken closes the line; readers and writers.
//!
//! A failure shows as a wrong order, or as a deadlock where who came to a closed line is forgotten.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::cell::UnsafeCell;
use loom::sync::Mutex as LoomMutex;
use unwedge::model::{self, thread};
use unwedge::{Monitor, Stop, Stopped, WaitError};

use crate::common::{Failure, explore, explore_as, fails};
use crate::world::{World, later, time_passes};

/// Polls once, as a task that is never woken would not be.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The one who waits longest is notified first, be it thread or task.
#[test]
fn condvar_is_first_in_first_out() {
    explore("FIFO", Some(3), || {
        let world = World::new();
        let mut first = world.lock.lock().unwrap().wait_async(&world.changed);
        let mut second = world.lock.lock().unwrap().wait_async(&world.changed);
        let notifier = world.thread(|world| assert!(world.changed.notify_one(), "two wait"));
        let early = poll(&mut first);
        assert!(poll(&mut second).is_pending(), "one notification, and the first takes it");
        notifier.join().unwrap();
        assert!(early.is_ready() || poll(&mut first).is_ready());
        drop(early);
        assert!(poll(&mut second).is_pending(), "one notification, and the first has taken it");
    });
}

/// A queue whose newest waiter is notified first starves the oldest.
#[test]
fn twin_last_in_first_out() {
    fails(Failure::Panic("the first was not served first"), Some(2), || {
        let stack = loom::sync::Arc::new(LoomMutex::new(vec!["first", "second"]));
        let notifier = {
            let stack = stack.clone();
            thread::spawn(move || stack.lock().unwrap().pop())
        };
        assert_eq!(notifier.join().unwrap(), Some("first"), "the first was not served first");
    });
}

/// Who queues for the lock gets it in the order of queueing, if nobody runs ahead. (Who reads beside it changes nothing, whenever it is: two preemptions let it
/// in at every point, and out again.)
#[test]
fn lock_is_first_in_first_out() {
    explore("FIFO", Some(2), || {
        let world = World::new();
        let held = world.lock.lock().unwrap();
        let mut first = world.lock.lock_async();
        let mut second = world.lock.lock_async();
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        let reader = world.thread(|world| world.stop.report().is_clean());
        drop(held);
        assert!(poll(&mut second).is_pending(), "the turn is the first's");
        let guard = poll(&mut first);
        assert!(matches!(guard, Poll::Ready(Ok(_))));
        drop(guard);
        assert!(matches!(poll(&mut second), Poll::Ready(Ok(_))));
        reader.join().unwrap();
    });
}

/// A thread that was overtaken twice closes the line: from then on nobody runs ahead.
///
/// The line is closed for one who gives up, and who came to it then must not be forgotten; be it the first, or behind a task that nobody polls.
fn closed_for_one_who(name: &str, behind_a_task: bool, gives_up: fn(&Stop), end: Result<(), WaitError>) {
    explore_as(name, "L3", Some(2), move || {
        let world = World::new();
        let other = Stop::new("phase");
        let until = later();
        let held = world.lock.lock().unwrap();
        let mut task = behind_a_task.then(|| world.lock.lock_async_in(&other));
        assert!(task.as_mut().is_none_or(|task| poll(task).is_pending()));
        let overtaken = world.thread(move |world| world.lock.lock_until(until).map(drop));
        thread::yield_now();
        drop(held);
        let held = world.lock.lock_in(&other).unwrap();
        thread::yield_now();
        drop(held);
        let held = world.lock.lock_in(&other).unwrap();
        thread::yield_now();
        gives_up(&world.stop);
        drop(held);
        // It finds the line closed, and the lock free or about to be.
        drop(world.lock.lock_in(&other).unwrap());
        let outcome = overtaken.join().unwrap();
        assert!(outcome == end || outcome.is_ok());
    });
}

#[test]
fn line_closed_for_one_who_gives_up() {
    closed_for_one_who(
        "line_closed_for_one_who_is_stopped",
        false,
        |stop| assert!(stop.request("SIGTERM")),
        Err(WaitError::Stopped),
    );
    for (name, behind_a_task) in
        [("line_closed_for_one_who_times_out", false), ("line_closed_for_one_behind_a_task", true)]
    {
        closed_for_one_who(name, behind_a_task, |_| time_passes(), Err(WaitError::TimedOut));
    }
}

/// Who comes as the line is closed may take the lock or queue, whatever it read of the line: neither of the two is forgotten.
#[test]
fn line_closed_beside_a_barger() {
    explore("L3", Some(2), || {
        let world = World::new();
        let held = world.lock.lock().unwrap();
        let overtaken = world.thread(|world| world.lock.lock().map(drop));
        thread::yield_now();
        drop(held);
        let held = world.lock.lock().unwrap();
        thread::yield_now();
        drop(held);
        let held = world.lock.lock().unwrap();
        thread::yield_now();
        let barger = world.thread(|world| {
            let tried = world.lock.try_lock().map(drop);
            tried.and_then(|()| world.lock.lock().map(drop))
        });
        drop(held);
        assert_eq!(barger.join().unwrap(), Ok(()));
        assert_eq!(overtaken.join().unwrap(), Ok(()));
        assert!(world.lock.try_lock().is_ok_and(|guard| guard.is_some()), "the lock or the line stayed closed");
    });
}

/// As [`closed_for_one_who`], for one who does not queue but tries: the line does not stay closed when its one waiter has been stopped.
#[test]
fn line_does_not_stay_closed() {
    explore("L3", Some(2), || {
        let world = World::new();
        let part = world.stop.child("rank 0");
        let domain = part.clone();
        let held = world.lock.lock().unwrap();
        let overtaken = world.thread(move |world| world.lock.lock_in(&domain).map(drop));
        thread::yield_now();
        drop(held);
        let held = world.lock.lock().unwrap();
        thread::yield_now();
        drop(held);
        let held = world.lock.lock().unwrap();
        thread::yield_now();
        part.request("the rank alone");
        drop(held);
        let _had_it_or_not = overtaken.join().unwrap();
        assert!(world.lock.try_lock().is_ok_and(|guard| guard.is_some()), "the line stayed closed for nobody");
    });
}

fn shared() -> (Stop, Arc<Monitor<model::RwLock<u32>>>) {
    let stop = Stop::new("life");
    let lock = Arc::new(Monitor::new("tree", model::RwLock::new(0), &stop));
    (stop, lock)
}

#[test]
fn readers_share_and_writers_do_not() {
    explore("L3", Some(2), || {
        let (_stop, lock) = shared();
        let [reader, writer] = [false, true].map(|writes| {
            let lock = lock.clone();
            thread::spawn(move || match writes {
                true => *lock.lock().unwrap() += 1,
                false => drop(lock.read().map(|value| assert!(*value <= 1))),
            })
        });
        let read = *lock.read().unwrap();
        assert!(read <= 1);
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(*lock.read().unwrap(), 1);
    });
}

/// A reader that comes when a writer is first in line does not run ahead of it.
#[test]
fn reader_queues_behind_a_writer() {
    explore("FIFO", Some(3), || {
        let (_stop, lock) = shared();
        let first = lock.read().unwrap();
        let mut writer = lock.lock_async();
        assert!(poll(&mut writer).is_pending());
        let late = {
            let lock = lock.clone();
            thread::spawn(move || *lock.read().unwrap())
        };
        drop(first);
        if let Poll::Ready(Ok(mut value)) = poll(&mut writer) {
            *value = 1;
        }
        drop(writer);
        // It read before the writer only after the writer had been told that it is its turn.
        let _either = late.join().unwrap();
    });
    explore_as("reader_behind_a_writer_that_gives_up", "L3", Some(2), || {
        let (_stop, lock) = shared();
        let first = lock.read().unwrap();
        let until = later();
        let [writer, late] = [true, false].map(|writes| {
            let lock = lock.clone();
            thread::spawn(move || if writes { lock.lock_until(until).is_ok() } else { lock.read().is_ok() })
        });
        time_passes();
        // The late reader needs the first reader's end in no case once the writer has given up.
        writer.join().unwrap();
        assert!(late.join().unwrap());
        drop(first);
    });
    explore_as("reader_while_a_writer_waits", "FIFO", Some(3), || {
        let (_stop, lock) = shared();
        let first = lock.read().unwrap();
        let mut writer = lock.lock_async();
        assert!(poll(&mut writer).is_pending());
        let late = {
            let lock = lock.clone();
            let until = later();
            thread::spawn(move || lock.read_until(until).map(drop))
        };
        time_passes();
        assert_eq!(
            late.join().unwrap(),
            Err(WaitError::TimedOut),
            "a reader ran ahead of a writer that was first in line"
        );
        drop(first);
    });
}

/// A stopped writer in front of a reader of another domain.
#[test]
fn reader_behind_a_writer_that_is_stopped() {
    explore("L3", Some(2), || {
        let (stop, lock) = shared();
        let other = Stop::new("phase");
        let first = lock.read_in(&other).unwrap();
        let writer = {
            let lock = lock.clone();
            thread::spawn(move || lock.lock().map(drop))
        };
        let late = {
            let (lock, other) = (lock.clone(), other.clone());
            thread::spawn(move || lock.read_in(&other).map(drop))
        };
        stop.request("SIGTERM");
        assert_eq!(writer.join().unwrap(), Err(Stopped));
        assert_eq!(late.join().unwrap(), Ok(()));
        drop(first);
    });
}

/// A lock whose readers look at a flag and count themselves afterwards: the writer comes in between.
#[test]
fn twin_reader_that_checks_and_then_counts() {
    use loom::sync::atomic::{AtomicU32, Ordering};
    fails(Failure::Panic("Causality violation"), Some(3), || {
        let lock = loom::sync::Arc::new((AtomicU32::new(0), AtomicU32::new(0), UnsafeCell::new(0)));
        let reader = {
            let lock = lock.clone();
            thread::spawn(move || {
                let (writer, readers, data) = &*lock;
                if writer.load(Ordering::Acquire) == 0 {
                    readers.fetch_add(1, Ordering::AcqRel);
                    data.with(|_| ());
                    readers.fetch_sub(1, Ordering::AcqRel);
                }
            })
        };
        let (writer, readers, data) = &*lock;
        if readers.load(Ordering::Acquire) == 0 {
            writer.store(1, Ordering::Release);
            data.with_mut(|_| ());
            writer.store(0, Ordering::Release);
        }
        reader.join().unwrap();
    });
}

/// `pin!` and not `Pin::new`: a future that is not polled to its end leaves the queue when it goes out of scope.
#[test]
fn dropped_acquisition_leaves_the_line() {
    explore("L3", Some(3), || {
        let world = World::new();
        let held = world.lock.lock().unwrap();
        let waiter = world.thread(|world| {
            let mut future = pin!(world.lock.lock_async());
            let first = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            first.is_ready()
        });
        drop(held);
        let _had_it_or_not = waiter.join().unwrap();
        assert!(world.lock.try_lock().is_ok_and(|guard| guard.is_some()), "the line is empty and open");
    });
}
