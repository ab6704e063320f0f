//! L6, no lock over foreign code: wakers and callbacks may come back into the library, take the big lock or panic.
//!
//! A failure shows as a deadlock of a thread with itself, or with who holds the big lock.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar as LoomCondvar, Mutex as LoomMutex};
use unwedge::model::thread;
use unwedge::{Completion, Stopped};

use crate::common::{Failure, explore, explore_as, fails, happened};
use crate::world::{World, plan};

/// A waker that comes back into the library, when it is woken and when it is dropped.
struct ComesBack(World);

impl ComesBack {
    fn come_back(&self) {
        self.0.changed.notify_all();
        drop(self.0.lock.try_lock());
        drop(self.0.stop.report());
    }
}

impl Wake for ComesBack {
    fn wake(self: Arc<Self>) {
        self.come_back();
    }
}

impl Drop for ComesBack {
    fn drop(&mut self) {
        self.come_back();
    }
}

/// A waker that panics.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        // No panic hook: it would fill the output.
        resume_unwind(Box::new("a waker's panic"));
    }
}

#[test]
fn law6_waker_comes_back() {
    explore_as("waker_of_condvar_comes_back", "L6", Some(2), || {
        let world = World::new();
        let waker = Waker::from(Arc::new(ComesBack(world.clone())));
        let mut waits = world.lock.lock().unwrap().wait_async(&world.changed);
        assert!(Pin::new(&mut waits).poll(&mut Context::from_waker(&waker)).is_pending());
        let notifier = world.thread(|world| world.changed.notify_one());
        // Another waker takes its place: the old one is dropped, and comes back as well.
        let again = Pin::new(&mut waits).poll(&mut Context::from_waker(Waker::noop()));
        drop(waker);
        drop(again);
        drop(waits);
        notifier.join().unwrap();
    });
    explore_as("waker_of_completion_comes_back", "L6", Some(2), || {
        let world = World::new();
        let waker = Waker::from(Arc::new(ComesBack(world.clone())));
        let (completer, mut completion) = Completion::<u32>::new("read", &world.stop);
        assert!(Pin::new(&mut completion).poll(&mut Context::from_waker(&waker)).is_pending());
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        let held = world.lock.lock();
        assert_eq!(completer.complete(1), Ok(()));
        drop(held);
        stopper.join().unwrap();
        drop(completion);
    });
}

/// One panicking waker strands nobody: not who was notified with it, not who is stopped after it.
#[test]
fn law6_panicking_waker_strands_nobody() {
    explore_as("panicking_waker_beside_a_thread", "L6", Some(2), || {
        let world = World::new();
        let waker = Waker::from(Arc::new(Panics));
        let mut first = world.lock.lock().unwrap().wait_async(&world.changed);
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
        let second = world.thread(|world| world.lock.lock()?.wait_while(&world.changed, |value| *value == 0).map(drop));
        *world.lock.lock().unwrap() = 1;
        world.changed.notify_all();
        drop(first);
        assert_eq!(second.join().unwrap(), Ok::<(), Stopped>(()));
    });
    explore_as("panicking_waker_in_a_stop", "L6", Some(2), || {
        let world = World::new();
        let waker = Waker::from(Arc::new(Panics));
        let mut first = Box::pin(world.stop.requested());
        assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let second = world.thread(|world| world.lock.lock()?.wait_while(&world.changed, |value| *value == 0).map(drop));
        assert!(world.stop.request("SIGTERM"));
        assert_eq!(second.join().unwrap(), Err(Stopped));
    });
}

/// A completion is given under the big lock, and its callback takes the big lock. (Ceph's trackers 16042, 16396, 20165.)
/// A waker that says that it was woken, or waits for another one to be.
struct Gate {
    is_open: loom::sync::Mutex<bool>,
    opened: loom::sync::Condvar,
}

struct Opens(Arc<Gate>);

impl Wake for Opens {
    fn wake(self: Arc<Self>) {
        *self.0.is_open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }
}

struct Blocks(Arc<Gate>);

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        let mut is_open = self.0.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.0.opened.wait(is_open).unwrap();
        }
    }
}

/// Two stops at the same time, one of which sits in a task's waker: the other one wakes its own tasks also where the first has ended their waits. A failure
/// is a deadlock.
#[test]
fn law6_blocked_waker_of_one_stop_is_not_the_other_s() {
    explore("L6", Some(3), || {
        let gate = Arc::new(Gate { is_open: loom::sync::Mutex::new(false), opened: loom::sync::Condvar::new() });
        let (one, other) = (World::new(), World::new());
        let wakers = [Waker::from(Arc::new(Blocks(gate.clone()))), Waker::from(Arc::new(Opens(gate)))];
        let ((_owed, mut first), (_owes, mut second)) = (one.owed::<u32>(), other.owed::<u32>());
        for (completion, waker) in [&mut first, &mut second].into_iter().zip(&wakers) {
            assert!(Pin::new(completion).poll(&mut Context::from_waker(waker)).is_pending());
        }
        let stopper = other.thread(|world| world.stop.request("SIGTERM"));
        one.stop.request("SIGTERM");
        stopper.join().unwrap();
    });
}

#[test]
fn law6_callback_takes_the_lock_of_the_completer() {
    explore("L6", Some(2), || {
        let world = World::new();
        let (completer, completion) = world.owed();
        let inner = world.clone();
        completion
            .on_complete(&world.stop, move |result: Result<Result<u32, _>, Stopped>| {
                if let (Ok(Ok(value)), Ok(mut guard)) = (result, inner.lock.lock()) {
                    *guard = value;
                }
            })
            .unwrap();
        let held = world.lock.lock().unwrap();
        assert_eq!(completer.complete(7), Ok(()));
        drop(held);
        // With the lock held again, and the callback perhaps waiting for it: the stop ends that wait.
        let held = world.lock.lock().unwrap();
        let report = world.stop.shutdown_holding(held, plan());
        assert!(report.is_clean(), "{report}");
    });
}

/// The finisher is joined with the big lock held, and its callback wants the lock.
#[test]
fn twin_callback_inside_complete() {
    fails(Failure::Deadlock, Some(2), || {
        let lock = loom::sync::Arc::new(LoomMutex::new(0));
        let inner = lock.clone();
        let callback: Box<dyn FnOnce(u32)> = Box::new(move |value| *inner.lock().unwrap() = value);
        let other = {
            let lock = lock.clone();
            thread::spawn(move || *lock.lock().unwrap() += 1)
        };
        let held = lock.lock().unwrap();
        callback(7);
        drop(held);
        other.join().unwrap();
    });
}

#[test]
fn twin_waker_under_the_queue_s_lock() {
    fails(Failure::Deadlock, Some(2), || {
        let queue = loom::sync::Arc::new(LoomMutex::new(Vec::<Box<dyn FnOnce() + Send>>::new()));
        let inner = queue.clone();
        let notifier = {
            let queue = queue.clone();
            thread::spawn(move || {
                for wake in queue.lock().unwrap().drain(..) {
                    wake();
                }
            })
        };
        queue.lock().unwrap().push(Box::new(move || drop(inner.lock())));
        notifier.join().unwrap();
        for wake in queue.lock().unwrap().drain(..) {
            wake();
        }
    });
}

#[test]
fn twin_panicking_waker() {
    fails(Failure::LostWakeUp, Some(2), || {
        let state = loom::sync::Arc::new((LoomMutex::new(false), LoomCondvar::new()));
        let sleeper = {
            let state = state.clone();
            thread::spawn(move || {
                let mut woken = state.0.lock().unwrap();
                while !*woken {
                    woken = state.1.wait(woken).unwrap();
                }
            })
        };
        let inner = state.clone();
        let wakers: [Box<dyn FnOnce()>; 2] = [
            Box::new(|| resume_unwind(Box::new("a waker's panic"))),
            Box::new(move || {
                *inner.0.lock().unwrap() = true;
                inner.1.notify_one();
            }),
        ];
        // The loop over all who are to be woken ends with the first panic.
        let panicked = catch_unwind(AssertUnwindSafe(|| wakers.into_iter().for_each(|wake| wake()))).is_err();
        happened();
        assert!(panicked);
        sleeper.join().unwrap();
    });
}

/// The future of a wait is polled by a task that finds the outcome there: no waker was needed.
#[test]
fn law6_waker_is_put_before_the_state_is_looked_at() {
    explore("L6", Some(3), || {
        let world = World::new();
        let (completer, mut completion) = world.owed::<u32>();
        let storage = thread::spawn(move || completer.complete(1));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let polled = Pin::new(&mut completion).poll(&mut Context::from_waker(&waker));
        storage.join().unwrap().unwrap();
        match polled {
            Poll::Ready(value) => assert_eq!(value, Ok(Ok(1))),
            Poll::Pending => {
                assert!(woken.0.load(std::sync::atomic::Ordering::Relaxed), "pending, complete, and not woken")
            }
        }
    });
}

/// The state is looked at, and then the waker is put where the other side takes it.
#[test]
fn twin_waker_put_after_the_look() {
    use loom::sync::atomic::{AtomicBool, Ordering};
    fails(Failure::LostWakeUp, Some(2), || {
        let cell = loom::sync::Arc::new((AtomicBool::new(false), LoomMutex::new(None::<Waker>)));
        let task = {
            let cell = cell.clone();
            thread::spawn(move || {
                unwedge::model::block_on(std::future::poll_fn(|cx| {
                    if cell.0.load(Ordering::Acquire) {
                        return Poll::Ready(());
                    }
                    *cell.1.lock().unwrap() = Some(cx.waker().clone());
                    Poll::Pending
                }));
            })
        };
        cell.0.store(true, Ordering::Release);
        happened();
        let waker = cell.1.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
        task.join().unwrap();
    });
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
