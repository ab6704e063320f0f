//! L1: after a stop is requested every wait returns, whatever it waits for, and nobody has to help.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use unwedge::lock::Reading;
use unwedge::{Completer, Completion, Condvar, Monitor, Plan, Stop, WaitError};

use crate::common::{GUARD, guarded};
use crate::seen::until;
use crate::{on_each_runtime, poll_once, until_seen};

/// What can be waited for, and nobody will ever give.
struct World {
    stop: Stop,
    /// Held by the test for good.
    held: Monitor<parking_lot::Mutex<u32>>,
    held_rw: Monitor<parking_lot::RwLock<u32>>,
    free: Monitor<parking_lot::Mutex<u32>>,
    free_rw: Monitor<std::sync::RwLock<u32>>,
    foreign_std: Mutex<u32>,
    foreign_fair: parking_lot::FairMutex<u32>,
    foreign_rw: parking_lot::RwLock<u32>,
    foreign_tokio: tokio::sync::Mutex<u32>,
    never: Condvar,
}

impl World {
    fn new(stop: &Stop) -> Arc<Self> {
        Arc::new(World {
            stop: stop.clone(),
            held: Monitor::new("held", parking_lot::Mutex::new(0), stop),
            held_rw: Monitor::new("held_rw", parking_lot::RwLock::new(0), stop),
            free: Monitor::new("free", parking_lot::Mutex::new(0), stop),
            free_rw: Monitor::new("free_rw", std::sync::RwLock::new(0), stop),
            foreign_std: Mutex::new(0),
            foreign_fair: parking_lot::FairMutex::new(0),
            foreign_rw: parking_lot::RwLock::new(0),
            foreign_tokio: tokio::sync::Mutex::new(0),
            never: Condvar::new(),
        })
    }

    /// A completion whose completer stays in the world's hands.
    fn owed(&self) -> (Completer<u32>, Completion<u32>) {
        Completion::new("never", &self.stop)
    }
}

/// A wait: whether it was stopped.
type Wait = fn(&World) -> bool;

fn far() -> Instant {
    Instant::now() + 100 * GUARD
}

/// Every blocking wait there is.
const WAITS: &[(&str, Wait)] = &[
    ("lock", |w| w.held.lock().is_err()),
    ("lock_until", |w| w.held.lock_until(far()).is_err_and(|error| error.is_stopped())),
    ("lock_in", |w| w.held.lock_in(&w.stop).is_err()),
    ("write", |w| w.held_rw.lock().is_err()),
    ("read", |w| w.held_rw.read().is_err()),
    ("read_until", |w| w.held_rw.read_until(far()).is_err_and(|error| error.is_stopped())),
    ("read_in", |w| w.held_rw.read_in(&w.stop).is_err()),
    ("wait", |w| w.free.lock().and_then(|guard| guard.wait(&w.never)).is_err()),
    ("wait_until", |w| w.free.lock().and_then(|guard| guard.wait_until(&w.never, far())).is_err()),
    ("wait_while", |w| w.free.lock().and_then(|guard| guard.wait_while(&w.never, |n| *n == 0)).is_err()),
    ("wait_while_until", |w| {
        w.free.lock().and_then(|guard| guard.wait_while_until(&w.never, far(), |n| *n == 0)).is_err()
    }),
    ("reader's wait", |w| w.free_rw.read().and_then(|guard| guard.wait(&w.never)).is_err()),
    ("writer's wait", |w| w.free_rw.lock().and_then(|guard| guard.wait(&w.never)).is_err()),
    ("when", |w| w.free.when(|n| (*n != 0).then_some(())).is_err()),
    ("when_until", |w| w.free.when_until(far(), |n| (*n != 0).then_some(())) == Err(WaitError::Stopped)),
    ("completion", |w| {
        let (_completer, mut owed) = w.owed();
        owed.wait().is_err()
    }),
    ("completion until", |w| {
        let (_completer, mut owed) = w.owed();
        owed.wait_until(far()).is_err_and(|error| error.is_stopped())
    }),
    ("completion in", |w| {
        let (_completer, mut owed) = w.owed();
        owed.wait_in(&w.stop).is_err()
    }),
    ("wait_for", |w| {
        let (_completer, mut owed) = w.owed();
        w.free.lock().and_then(|guard| guard.wait_for(&mut owed)).is_err()
    }),
    ("foreign std", |w| {
        let guard = w.foreign_std.lock().expect("not poisoned");
        w.never.wait(&w.stop, &w.foreign_std, guard).is_err()
    }),
    ("foreign fair", |w| w.never.wait(&w.stop, &w.foreign_fair, w.foreign_fair.lock()).is_err()),
    ("foreign write", |w| w.never.wait(&w.stop, &w.foreign_rw, w.foreign_rw.write()).is_err()),
    ("foreign read", |w| w.never.wait(&w.stop, &Reading::new(&w.foreign_rw), w.foreign_rw.read()).is_err()),
    ("foreign tokio", |w| {
        w.never.wait_until(&w.stop, &w.foreign_tokio, w.foreign_tokio.blocking_lock(), far()).is_err()
    }),
    ("wait_timeout", |w| w.stop.wait_timeout(100 * GUARD)),
    ("endless wait_timeout", |w| w.stop.wait_timeout(Duration::MAX)),
];

#[test]
fn law1_a_stop_ends_every_wait_of_threads() {
    guarded(|| {
        let stop = Stop::new("l1");
        let world = World::new(&stop);
        let held = world.held.lock().expect("free");
        let held_rw = world.held_rw.lock().expect("free");
        let (ended, outcomes) = mpsc::channel();
        for (name, wait) in WAITS {
            let (world, ended) = (world.clone(), ended.clone());
            stop.spawn(name, move || ended.send((*name, wait(&world)))).expect("a thread");
        }
        // One more waits for another to end, which a stop of a domain of its own will end later.
        let (other, own) = (Stop::new("other"), stop.clone());
        let late = other.clone();
        let idle = own.spawn("idle", move || late.wait_timeout(Duration::MAX)).expect("a thread");
        stop.spawn("join", move || ended.send(("join", idle.join().is_err_and(|error| error.is_stopped()))))
            .expect("a thread");

        until("all wait", || stop.report().members().iter().all(|member| member.waits.len() == 1));
        assert_eq!(stop.report().members().len(), WAITS.len() + 2);
        assert!(stop.request("test"));
        until("all but one have ended", || stop.report().members().len() == 1);
        other.request("test");
        until("all have ended", || stop.report().members().is_empty());
        let outcomes: Vec<_> = outcomes.iter().collect();
        assert_eq!(outcomes.len(), WAITS.len() + 1, "a wait did not return: {outcomes:?}");
        for (name, stopped) in outcomes {
            assert!(stopped, "{name} was not stopped");
        }
        drop((held, held_rw));
    });
}

#[test]
fn law1_a_wait_that_begins_after_the_request_is_stopped_though_it_could_end_well() {
    guarded(|| {
        let stop = Stop::new("l1");
        let world = World::new(&stop);
        stop.request("test");
        for (name, wait) in WAITS {
            assert!(wait(&world), "{name}");
        }
        let mut ready = Completion::<u32>::ready(Ok(1), &stop);
        assert!(ready.wait().is_err());
        assert_eq!(ready.cancel(), Some(Ok(1)), "the value stays");
        let (completer, mut completed) = world.owed();
        completer.complete(2).expect("wanted");
        assert_eq!(completed.wait_until(far()), Err(WaitError::Stopped));
        assert_eq!(completed.cancel(), Some(Ok(2)), "the value stays");
        let spawned = stop.spawn("born late", || 3).expect("a thread");
        until("it has ended", || spawned.is_finished());
        assert!(spawned.join().is_err_and(|error| error.is_stopped()));
        assert!(world.free.when(|_| Some(())).is_err());
    });
}

/// Counts the futures that a stop ended.
type Count = Arc<AtomicUsize>;

#[test]
fn law1_a_stop_ends_every_wait_of_tasks() {
    on_each_runtime(|| async {
        let stop = Stop::new("l1");
        // tokio's locks: their guards may be kept by a task that another thread goes on with.
        let held = Arc::new(Monitor::new("held", tokio::sync::RwLock::new(0_u32), &stop));
        let free = Arc::new(Monitor::new("free", tokio::sync::Mutex::new(0_u32), &stop));
        let never = Arc::new(Condvar::new());
        let guard = held.lock_async().await.expect("free");
        let stopped = Count::default();
        let count = |yes: bool, count: &Count| {
            count.fetch_add(usize::from(yes), SeqCst);
        };

        let mut tasks = 0;
        let mut spawn = |name: &str, wait: Pin<Box<dyn Future<Output = bool> + Send>>| {
            tasks += 1;
            let stopped = stopped.clone();
            drop(stop.spawn_task(name, async move { count(wait.await, &stopped) }));
        };
        let m = held.clone();
        spawn("lock_async", Box::pin(async move { m.lock_async().await.is_err() }));
        let m = held.clone();
        spawn("read_async", Box::pin(async move { m.read_async().await.is_err() }));
        let (m, s) = (held.clone(), stop.clone());
        spawn("lock_async_in", Box::pin(async move { m.lock_async_in(&s).await.is_err() }));
        let (m, c) = (free.clone(), never.clone());
        spawn(
            "wait_async",
            Box::pin(async move {
                let guard = m.lock_async().await.expect("free");
                guard.wait_async(&c).await.is_err()
            }),
        );
        let (m, c) = (free.clone(), never.clone());
        spawn(
            "wait_while",
            Box::pin(async move {
                let guard = m.lock_async().await.expect("free");
                guard.wait_while_async(&c, |n| *n == 0).await.is_err()
            }),
        );
        let m = free.clone();
        spawn("when_async", Box::pin(async move { m.when_async(|n| (*n != 0).then_some(())).await.is_err() }));
        let (_completer, owed) = Completion::<u32>::new("never", &stop);
        spawn("completion", Box::pin(async move { owed.await.is_err() }));
        let s = stop.clone();
        spawn(
            "requested",
            Box::pin(async move {
                s.requested().await;
                true
            }),
        );
        let other = Stop::new("other");
        let s = other.clone();
        let pending = stop.spawn_task("pending", async move { s.requested().await });
        spawn("joins", Box::pin(async move { pending.await.is_err_and(|error| error.is_stopped()) }));

        until_seen("all wait", || stop.report().members().iter().all(|member| member.waits.len() == 1)).await;
        assert_eq!(stop.report().members().len(), tasks + 1);
        assert!(stop.request("test"));
        until_seen("all but one have ended", || stop.report().members().len() == 1).await;
        other.request("test");
        until_seen("all have ended", || stop.report().members().is_empty()).await;
        assert_eq!(stopped.load(SeqCst), tasks);
        drop(guard);
        assert!(stop.shutdown_async(Plan::within(GUARD)).await.is_clean());
    });
}

#[test]
fn law1_a_future_that_begins_after_the_request_is_stopped_at_its_first_poll() {
    let stop = Stop::new("l1");
    let monitor = Monitor::new("free", std::sync::RwLock::new(0_u32), &stop);
    let condvar = Condvar::new();
    let guard = monitor.lock().expect("free");
    let other = Monitor::new("other", std::sync::Mutex::new(0_u32), &stop);
    let other_guard = other.lock().expect("free");
    let mut ready = Completion::<u32>::ready(Ok(1), &stop);
    stop.request("test");
    assert!(matches!(poll_once(&mut guard.wait_async(&condvar)), Poll::Ready(Err(_))));
    assert!(matches!(poll_once(&mut other_guard.wait_while_async(&condvar, |n| *n == 0)), Poll::Ready(Err(_))));
    assert!(matches!(poll_once(&mut monitor.lock_async()), Poll::Ready(Err(_))));
    assert!(matches!(poll_once(&mut monitor.read_async()), Poll::Ready(Err(_))));
    assert!(matches!(poll_once(&mut monitor.when_async(|_| Some(1))), Poll::Ready(Err(_))));
    assert!(matches!(poll_once(&mut ready), Poll::Ready(Err(_))));
    assert!(poll_once(&mut stop.requested()).is_ready());
    // Nothing of it is left behind: the locks are free.
    let next = Stop::new("next");
    assert!(monitor.lock_in(&next).is_ok());
    assert!(other.lock_in(&next).is_ok());
}

#[test]
fn law1_a_stop_ends_its_domain_and_those_below_and_no_other() {
    guarded(|| {
        let stop = Stop::new("l1");
        let monitor = Arc::new(Monitor::new("m", parking_lot::Mutex::new(0_u32), &stop));
        let never = Arc::new(Condvar::new());
        let child = stop.child("child");
        let grandchild = child.child("grandchild");
        let sibling = stop.child("sibling");
        for domain in [&stop, &child, &grandchild, &sibling] {
            let (monitor, never, own) = (monitor.clone(), never.clone(), domain.clone());
            domain.spawn(domain.name(), move || monitor.lock_in(&own)?.wait(&never).map(drop)).expect("a thread");
        }
        until("all wait", || stop.report().members().iter().all(|member| member.waits.len() == 1));
        assert_eq!(stop.report().members().len(), 4);
        child.request("a part only");
        until("two are left", || stop.report().members().len() == 2);
        let left: Vec<_> = stop.report().members().iter().map(|member| member.name.clone()).collect();
        assert_eq!(left, ["l1", "sibling"]);
        assert!(stop.report().members().iter().all(|member| member.waits.len() == 1), "they wait on");
        assert!(!stop.is_requested() && !sibling.is_requested() && grandchild.is_requested());
        assert_eq!(grandchild.reason().as_deref(), Some("a part only"));
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn law1_the_end_of_a_domain_ends_the_waits_for_its_completions() {
    guarded(|| {
        let stop = Stop::new("l1");
        let (_completer, mut owed) = Completion::<u32>::new("never", &stop);
        let witness = Stop::new("witness");
        let waiter = witness.spawn("waiter", move || owed.wait().is_err()).expect("a thread");
        until("it waits", || witness.report().members().iter().all(|member| member.waits.len() == 1));
        drop(stop);
        assert!(waiter.join().expect("it ends"), "stopped by the drop of the last handle");
    });
}
