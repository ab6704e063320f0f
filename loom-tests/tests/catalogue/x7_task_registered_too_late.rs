//! mea PRs #70 and #73 (now asyncband). An async condition variable lets the lock go first and registers its waiter at the next poll: a notification in between is lost.
//!
//! Cause: check-then-register, with a runtime in between. Cure: an async wait is registered when the call returns, before the lock is free (L3).

use std::sync::Arc;
use std::task::{Poll, Waker};

use unwedge::model::block_on;

use crate::common::{explore, happened};
use crate::naive::{self, Mutex, misses, spawn};
use crate::world::World;

#[test]
fn x7_task_is_registered_before_the_lock_is_free() {
    explore("L3", Some(3), || {
        let world = World::new();
        let setter = world.thread(|world| {
            *world.lock.lock().unwrap() = 1;
            world.changed.notify_all();
        });
        block_on(async {
            let wait = world.lock.lock().unwrap().wait_while_async(&world.changed, |value| *value == 0);
            assert_eq!(*wait.await.unwrap(), 1);
        });
        setter.join().unwrap();
    });
}

#[test]
fn x7_twin() {
    misses(Some(2), &["stop waits for a notification"], || {
        let value = Arc::new(Mutex::new("lock", 0));
        let waiters = Arc::new(Mutex::new("waiters", Vec::<Waker>::new()));
        let (own, list) = (value.clone(), waiters.clone());
        let setter = spawn("setter", move || {
            *own.lock() = 1;
            let woken = std::mem::take(&mut *list.lock());
            woken.into_iter().for_each(Waker::wake);
            happened();
        });
        let mut guard = Some(value.lock());
        let mut registered = false;
        naive::blocking("a notification".to_owned(), None, || {
            block_on(std::future::poll_fn(|cx| {
                if guard.take().is_some_and(|value| *value != 0) || registered {
                    return Poll::Ready(());
                }
                // The lock is free; only now:
                waiters.lock().push(cx.waker().clone());
                registered = true;
                Poll::Pending
            }));
        });
        setter.join();
    });
}
