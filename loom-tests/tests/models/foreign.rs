//! A task's wait over a lock that unwedge does not own (`Condvar::wait_async`): L1, L2 and L3 while it waits for the notification and while it
//! stands in the lock's own queue.
//!
//! The lock is `model::Mutex`, whose unlock wakes every task that awaits it. A failure shows as a deadlock: of a stopper who holds the lock and
//! joins with the task, or of the other waiter, who sleeps with the token there.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use unwedge::lock::{AsyncForeignLock, Lock};
use unwedge::model::{self, block_on, thread};
use unwedge::{Completion, Condvar, Stop, Stopped};

use crate::common::{Failure, explore, fails, happened};

/// A lock that is taken directly, and a condition variable.
#[derive(Clone)]
struct Foreign {
    lock: Arc<model::Mutex<u32>>,
    changed: Arc<Condvar>,
}

impl Foreign {
    fn new() -> Self {
        Foreign { lock: Arc::new(model::Mutex::new(0)), changed: Arc::new(Condvar::new()) }
    }

    /// Runs a thread with a handle of its own.
    fn thread<T: 'static>(&self, body: impl FnOnce(Foreign) -> T + 'static) -> thread::JoinHandle<T> {
        let own = self.clone();
        thread::spawn(move || body(own))
    }

    /// Waits for a token as a task, and takes it.
    async fn take_async(&self, stop: &Stop) -> Result<(), Stopped> {
        let mut guard = self.lock.lock_async().await;
        while *guard == 0 {
            guard = self.changed.wait_async(stop, &*self.lock, guard).await?;
        }
        *guard -= 1;
        Ok(())
    }

    /// The same as a thread.
    fn take(&self, stop: &Stop) -> Result<(), Stopped> {
        let mut guard = self.lock.lock();
        while *guard == 0 {
            guard = self.changed.wait(stop, &*self.lock, guard)?;
        }
        *guard -= 1;
        Ok(())
    }

    fn put_one(&self) {
        *self.lock.lock() += 1;
        self.changed.notify_one();
    }
}

#[test]
fn law3_notification_reaches_a_task_over_a_foreign_lock() {
    explore("L3", Some(3), || {
        let (foreign, stop) = (Foreign::new(), Stop::new("life"));
        let task = foreign.thread(move |own| block_on(own.take_async(&stop)));
        foreign.put_one();
        assert_eq!(task.join().unwrap(), Ok(()));
    });
}

/// The stopper holds the lock, notifies in vain, and joins: the task ends in the queue of the condition variable or in the lock's own.
#[test]
fn law2_task_over_a_foreign_lock_held_by_the_stopper() {
    explore("L1 L2", Some(3), || {
        let (foreign, stop) = (Foreign::new(), Stop::new("life"));
        let domain = stop.clone();
        let task = foreign.thread(move |own| {
            block_on(async {
                // Without the lock already: this model is about the wait.
                let guard = own.lock.try_lock().ok_or(Stopped)?;
                own.changed.wait_async(&domain, &*own.lock, guard).await.map(drop)
            })
        });
        let held = foreign.lock.lock();
        foreign.changed.notify_one();
        stop.request("SIGTERM");
        assert_eq!(task.join().unwrap(), Err(Stopped));
        drop(held);
    });
}

/// The notified task is stopped while it stands in the lock's queue: a thread of another life gets the token.
#[test]
fn law3_task_over_a_foreign_lock_passes_on_when_stopped() {
    explore("L3", Some(2), || {
        let (first, second) = (Stop::new("life"), Stop::new("another life"));
        let foreign = Foreign::new();
        let (one, two) = (first.clone(), second.clone());
        let stopped = foreign.thread(move |own| block_on(own.take_async(&one)));
        let stays = foreign.thread(move |own| own.take(&two));
        foreign.put_one();
        first.request("SIGTERM");
        if stopped.join().unwrap().is_ok() {
            second.request("no token is left");
            assert_eq!(stays.join().unwrap(), Err(Stopped));
        } else {
            assert_eq!(stays.join().unwrap(), Ok(()));
        }
    });
}

/// The future is dropped beside the notification, wherever it stands.
#[test]
fn law3_task_over_a_foreign_lock_passes_on_when_dropped() {
    explore("L3", Some(2), || {
        let (foreign, stop) = (Foreign::new(), Stop::new("life"));
        let guard = foreign.lock.lock();
        let mut dropped = Box::pin(foreign.changed.wait_async(&stop, &*foreign.lock, guard));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(dropped.as_mut().poll(&mut cx).is_pending());
        let domain = stop.clone();
        let stays = foreign.thread(move |own| own.take(&domain));
        let notifier = foreign.thread(|own| own.put_one());
        if let Poll::Ready(Ok(guard)) = dropped.as_mut().poll(&mut cx) {
            // It was notified, has the lock, and leaves the token: so it notifies, as a user must who does not use what came.
            drop(guard);
            foreign.changed.notify_one();
        }
        drop(dropped);
        notifier.join().unwrap();
        assert_eq!(stays.join().unwrap(), Ok(()));
    });
}

/// The wait itself can be stopped, and the lock is awaited afterwards as everybody does it.
#[test]
fn twin_task_awaits_the_lock_beyond_the_stop() {
    fails(Failure::Deadlock, Some(2), || {
        let (foreign, stop) = (Foreign::new(), Stop::new("life"));
        let (completer, event) = Completion::<()>::new("event", &stop);
        let task = foreign.thread(move |own| {
            block_on(async {
                let _event = event.await?;
                drop(own.lock.lock_async().await);
                Ok::<(), Stopped>(())
            })
        });
        let held = foreign.lock.lock();
        completer.complete(()).ok();
        stop.request("SIGTERM");
        let _ended = task.join().unwrap();
        drop(held);
    });
}

/// No lock at all: what a wait is given that is to take none again.
struct Free;

impl Lock for Free {
    type Guard<'a> = ();

    fn try_lock(&self) -> Option<()> {
        Some(())
    }
}

impl AsyncForeignLock for Free {
    async fn lock_async(&self) {}
}

/// The notification counts as used before the lock is had: a stop in between takes it along.
#[test]
fn twin_notification_is_used_before_the_lock_is_had() {
    async fn naive(own: &Foreign, stop: &Stop) -> Result<(), Stopped> {
        let mut guard = own.lock.lock_async().await;
        while *guard == 0 {
            let notified = own.changed.wait_async(stop, &Free, ());
            drop(guard);
            notified.await?;
            let (mut lock, mut stopped) = (pin!(own.lock.lock_async()), pin!(stop.requested()));
            guard = poll_fn(|cx| match Pin::new(&mut stopped).poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(Stopped)),
                Poll::Pending => lock.as_mut().poll(cx).map(Ok),
            })
            .await?;
        }
        *guard -= 1;
        Ok(())
    }
    fails(Failure::LostWakeUp, Some(2), || {
        let (first, second) = (Stop::new("life"), Stop::new("another life"));
        let foreign = Foreign::new();
        let (one, two) = (first.clone(), second.clone());
        let stopped = foreign.thread(move |own| block_on(naive(&own, &one)));
        let stays = foreign.thread(move |own| own.take(&two));
        foreign.put_one();
        happened();
        first.request("SIGTERM");
        if stopped.join().unwrap().is_ok() {
            second.request("no token is left");
        }
        let _ended = stays.join().unwrap();
    });
}
