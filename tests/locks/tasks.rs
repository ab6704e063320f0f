//! A task under a condition variable with the lock taken directly: `Condvar::wait_async(&stop, &lock, guard)`, over tokio's locks, and over
//! one that is reached through a wrapper of a user's own.

use std::{
    any::Any,
    future::Future,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::{
    runtime,
    sync::{Mutex, MutexGuard, RwLock},
    task::yield_now,
};
use unwedge::{
    Condvar, Spawned, Stop, Stopped,
    lock::{AsyncForeignLock, Lock},
};

use crate::{GUARD, guarded};

const NOTIFICATION: &str = "a condition variable";
const RELOCK: &str = "a lock that others also take (notified)";

/// The domain of a test's members, two parts of it in which they wait, and what they wait for.
struct World {
    stop: Stop,
    parts: [Stop; 2],
    condvar: Condvar,
    state: AtomicU64,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A lock in the mode in which is waited, and in the one in which the state may be changed.
trait Over: Default + Send + Sync + 'static {
    /// As a task that waits until the state is not 0.
    fn wait(&'static self, world: &'static World, part: usize) -> Boxed<Result<u64, Stopped>>;

    /// The lock, held for a change.
    fn hold(&'static self) -> Boxed<Box<dyn Any + Send>>;
}

macro_rules! over {
    ($name:ident, $lock:ty, $hold:ident, $take:ident, $wait:ident) => {
        #[derive(Default)]
        struct $name($lock);

        impl Over for $name {
            fn wait(&'static self, world: &'static World, part: usize) -> Boxed<Result<u64, Stopped>> {
                Box::pin(async move {
                    let mut guard = self.0.$take().await;
                    while world.state.load(SeqCst) == 0 {
                        guard = world.condvar.$wait(&world.parts[part], &self.0, guard).await?;
                    }
                    let seen = world.state.load(SeqCst);
                    drop(guard);
                    Ok(seen)
                })
            }

            fn hold(&'static self) -> Boxed<Box<dyn Any + Send>> {
                Box::pin(async { Box::new(self.0.$hold().await) as Box<dyn Any + Send> })
            }
        }
    };
}

/// A lock of another crate, as it joins.
#[derive(Default)]
struct Own(Mutex<()>);

impl Lock for Own {
    type Guard<'a> = MutexGuard<'a, ()>;

    fn try_lock(&self) -> Option<MutexGuard<'_, ()>> {
        self.0.try_lock().ok()
    }
}

impl AsyncForeignLock for Own {
    async fn lock_async(&self) -> MutexGuard<'_, ()> {
        self.0.lock().await
    }
}

over!(OverMutex, Mutex<()>, lock, lock, wait_async);
over!(OverWriter, RwLock<()>, write, write, wait_async);
over!(OverReader, RwLock<()>, write, read, wait_shared_async);
over!(OverOwn, Own, lock_async, lock_async, wait_async);

impl World {
    /// It lives as long as the process: its tasks borrow from it.
    fn new() -> &'static Self {
        let stop = Stop::new("tasks");
        let parts = [stop.child("first"), stop.child("second")];
        Box::leak(Box::new(World { stop, parts, condvar: Condvar::new(), state: AtomicU64::new(0) }))
    }

    /// Whether the member of this name waits for this, as the report has it.
    fn waits_for(&self, name: &str, what: &str) -> bool {
        let report = self.stop.report();
        report.members().iter().any(|member| member.name == name && member.waits.iter().any(|wait| wait.what == what))
    }

    /// Lets other tasks run until the member of this name waits for this.
    async fn until_waits(&self, name: &str, what: &str) {
        until_seen(what, || self.waits_for(name, what)).await;
    }

    /// Starts a task that waits, and comes back when it does.
    async fn waiter<L: Over>(
        &'static self,
        name: &str,
        lock: &'static L,
        part: usize,
    ) -> Spawned<Result<u64, Stopped>> {
        let task = self.stop.spawn_task(name, lock.wait(self, part));
        self.until_waits(name, NOTIFICATION).await;
        task
    }
}

/// Lets other tasks run until it is seen.
async fn until_seen(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < GUARD, "never seen: {what}");
        yield_now().await;
    }
}

/// Runs a test on both kinds of tokio's runtime, over each lock.
macro_rules! on_each {
    ($($test:ident),*) => {$(
        #[test]
        fn $test() {
            guarded(|| {
                for mut flavor in [runtime::Builder::new_current_thread(), runtime::Builder::new_multi_thread()] {
                    let runtime = flavor.worker_threads(2).build().expect("a runtime");
                    runtime.block_on(bodies::$test::<OverMutex>());
                    runtime.block_on(bodies::$test::<OverWriter>());
                    runtime.block_on(bodies::$test::<OverReader>());
                    runtime.block_on(bodies::$test::<OverOwn>());
                }
            });
        }
    )*};
}

on_each!(
    notified_one_by_one_and_all_at_once,
    stopped_while_the_stopper_holds_the_lock,
    stopped_in_the_lock_s_queue_while_the_stopper_holds_the_lock_it_passes_on,
    dropped_after_its_notification_it_passes_on,
    a_wait_that_begins_after_the_stop_is_stopped
);

mod bodies {
    use super::*;

    fn new<L: Over>() -> (&'static World, &'static L) {
        (World::new(), Box::leak(Box::default()))
    }

    pub(super) async fn notified_one_by_one_and_all_at_once<L: Over>() {
        for all in [false, true] {
            let (world, lock) = new::<L>();
            let mut tasks = Vec::new();
            for name in ["one", "two", "three"] {
                tasks.push(world.waiter(name, lock, 0).await);
            }
            let held = lock.hold().await;
            world.state.store(5, SeqCst);
            if all {
                assert_eq!(world.condvar.notify_all(), 3);
            } else {
                assert!([(); 3].iter().all(|()| world.condvar.notify_one()), "one each");
            }
            assert!(!world.condvar.notify_one(), "nobody is left");
            drop(held);
            for task in tasks {
                assert_eq!(task.await.expect("it ends by itself"), Ok(5));
            }
            drop(lock.hold().await);
        }
    }

    pub(super) async fn stopped_while_the_stopper_holds_the_lock<L: Over>() {
        let (world, lock) = new::<L>();
        let task = world.waiter("waiter", lock, 0).await;
        let held = lock.hold().await;
        world.parts[0].request("the test wants it");
        assert_eq!(task.await.expect("it ends by itself"), Err(Stopped), "while the stopper holds the lock");
        assert!(!world.condvar.notify_one(), "nobody is left");
        drop(held);
        drop(lock.hold().await);
    }

    pub(super) async fn stopped_in_the_lock_s_queue_while_the_stopper_holds_the_lock_it_passes_on<L: Over>() {
        let (world, lock) = new::<L>();
        let first = world.waiter("first", lock, 0).await;
        let second = world.waiter("second", lock, 1).await;
        let held = lock.hold().await;
        world.state.store(9, SeqCst);
        assert!(world.condvar.notify_one(), "to the first");
        world.until_waits("first", RELOCK).await;
        assert!(world.waits_for("second", NOTIFICATION));
        world.parts[0].request("the test wants it");
        assert_eq!(first.await.expect("it ends by itself"), Err(Stopped), "while the stopper holds the lock");
        world.until_waits("second", RELOCK).await;
        drop(held);
        assert_eq!(second.await.expect("it ends by itself"), Ok(9), "nobody notified again");
        // The one that gave up has left the lock's queue.
        drop(lock.hold().await);
    }

    pub(super) async fn dropped_after_its_notification_it_passes_on<L: Over>() {
        // Dropped before it has run since; dropped in the lock's queue; dropped there with the lock on its way to it.
        for (runs, freed) in [(false, false), (true, false), (true, true)] {
            let (world, lock) = new::<L>();
            let mut dropped = lock.wait(world, 0);
            let mut context = Context::from_waker(Waker::noop());
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            let second = world.waiter("second", lock, 1).await;
            let mut held = Some(lock.hold().await);
            world.state.store(7, SeqCst);
            assert!(world.condvar.notify_one(), "to the first");
            if runs {
                assert!(dropped.as_mut().poll(&mut context).is_pending(), "the lock is held");
            }
            if freed {
                held = None;
            }
            assert!(world.waits_for("second", NOTIFICATION), "one was notified");
            drop(dropped);
            drop(held);
            assert_eq!(second.await.expect("it ends by itself"), Ok(7), "nobody notified again");
            drop(lock.hold().await);
        }
    }

    pub(super) async fn a_wait_that_begins_after_the_stop_is_stopped<L: Over>() {
        let (world, lock) = new::<L>();
        world.parts[0].request("before");
        assert_eq!(lock.wait(world, 0).await, Err(Stopped));
        drop(lock.hold().await);
        assert!(!world.condvar.notify_one(), "it is in no queue");
    }
}

/// It is registered and the lock is free when the future is there, and a future that is never polled is in the way of nobody.
#[test]
fn it_waits_before_it_is_polled() {
    guarded(|| {
        let (stop, condvar, lock) = (Stop::new("eager"), Condvar::new(), Mutex::new(1));
        let guard = lock.try_lock().expect("free");
        let future = pin!(condvar.wait_async(&stop, &lock, guard));
        *lock.try_lock().expect("free again") = 2;
        assert!(condvar.notify_one(), "it is registered");
        let mut context = Context::from_waker(Waker::noop());
        match future.poll(&mut context) {
            Poll::Ready(Ok(guard)) => assert_eq!(*guard, 2),
            _ => panic!("notified, and the lock is free"),
        }
        drop(condvar.wait_async(&stop, &lock, lock.try_lock().expect("free")));
        assert!(!condvar.notify_one(), "a future that was dropped waits no more");
    });
}

/// Threads and tasks over one lock, in one queue: served in the order in which they came.
#[test]
fn threads_and_tasks_in_one_queue() {
    guarded(|| {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new();
            let lock: &'static Mutex<Vec<usize>> = Box::leak(Box::default());
            let names = ["0", "1", "2", "3", "4", "5"];
            for (at, name) in names.into_iter().enumerate() {
                if at % 2 == 0 {
                    world.stop.spawn_task(name, async move {
                        let guard = lock.lock().await;
                        world.condvar.wait_async(&world.stop, lock, guard).await?.push(at);
                        Ok::<(), Stopped>(())
                    });
                } else {
                    let thread = world.stop.spawn(name, move || {
                        let guard = lock.blocking_lock();
                        world.condvar.wait(&world.stop, lock, guard)?.push(at);
                        Ok::<(), Stopped>(())
                    });
                    thread.expect("a thread");
                }
                world.until_waits(name, NOTIFICATION).await;
            }
            for served in 1..=names.len() {
                assert!(world.condvar.notify_one());
                until_seen("it was served", || lock.try_lock().is_ok_and(|order| order.len() == served)).await;
            }
            assert_eq!(*lock.lock().await, [0, 1, 2, 3, 4, 5]);
        });
    });
}

/// tokio's budget: a task that has used it up gets the lock in its next turn.
#[test]
fn without_budget_it_comes_back() {
    guarded(|| {
        let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (stop, condvar, lock) = (Stop::new("budget"), Condvar::new(), Mutex::new(()));
            let waiting = condvar.wait_async(&stop, &lock, lock.lock().await);
            assert!(condvar.notify_one());
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::coop::consume_budget().await;
            }
            assert!(waiting.await.is_ok());
        });
    });
}
