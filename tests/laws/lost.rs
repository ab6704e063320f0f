//! L3: a notification that reaches a waiter which is just stopping, timing out or being dropped goes on to the next one; and so does a turn.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::{Duration, Instant};

use unwedge::{Condvar, Monitor, Plan, Stop, Wait};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits, waits_of};
use crate::{on_each_runtime, poll_once, until_seen};

type Shared<T> = Arc<Monitor<parking_lot::Mutex<T>>>;

fn monitor<T>(name: &'static str, value: T, stop: &Stop) -> Shared<T> {
    Arc::new(Monitor::new(name, parking_lot::Mutex::new(value), stop))
}

/// Starts a thread that waits once in the domain `own`, and sees that it waits.
fn waiter(stop: &Stop, name: &str, own: &Stop, monitor: &Shared<u32>, condvar: &Arc<Condvar>) {
    let (m, c, own) = (monitor.clone(), condvar.clone(), own.clone());
    stop.spawn(name, move || {
        let mut guard = m.lock_in(&own)?.wait(&c)?;
        *guard += 1;
        Ok::<(), unwedge::Stopped>(())
    })
    .expect("a thread");
    until_waits(stop, name, "a condition variable of m");
    // It is in the queue when it has let go of the lock.
    drop(monitor.lock());
}

/// Of many rounds, because a writer that has just queued tries once more by itself.
#[test]
fn law3_the_last_reader_s_unlock_wakes_the_writer_that_waits() {
    guarded(|| {
        let stop = Stop::new("l3");
        let lock = Arc::new(Monitor::new("m", parking_lot::RwLock::new(0_u32), &stop));
        for round in 0..20 {
            let readers = [(); 2].map(|()| lock.read().expect("no stop"));
            let own = lock.clone();
            let writer = stop.spawn("writer", move || own.lock().map(|mut n| *n += 1)).expect("a thread");
            until_waits(&stop, "writer", "lock m");
            drop(readers);
            assert_eq!(writer.join().expect("it ends"), Ok(()));
            assert_eq!(*lock.read().expect("no stop"), round + 1);
        }
    });
}

#[test]
fn law3_a_notification_goes_on_from_a_waiter_that_is_stopped_before_it_has_the_lock() {
    guarded(|| {
        let stop = Stop::new("l3");
        let part = stop.child("part");
        let monitor = monitor("m", 0, &stop);
        let condvar = Arc::new(Condvar::new());
        waiter(&stop, "first", &part, &monitor, &condvar);
        waiter(&stop, "second", &stop, &monitor, &condvar);
        let held = monitor.lock().expect("free");
        assert!(condvar.notify_one());
        until_waits(&stop, "first", "lock m (notified)");
        until_waits(&stop, "second", "a condition variable of m");
        part.request("test");
        until_waits(&stop, "second", "lock m (notified)");
        drop(held);
        until("both have ended", || stop.report().members().is_empty());
        assert_eq!(*monitor.lock().expect("free"), 1, "one of them was notified");
    });
}

#[test]
fn law3_over_a_foreign_lock_it_goes_on_from_a_waiter_that_is_stopped_while_it_relocks() {
    guarded(|| {
        let stop = Stop::new("l3");
        let part = stop.child("part");
        let lock = Arc::new(parking_lot::Mutex::new(0_u32));
        let condvar = Arc::new(Condvar::new());
        for (name, own) in [("first", &part), ("second", &stop)] {
            let (lock, condvar, own) = (lock.clone(), condvar.clone(), own.clone());
            stop.spawn(name, move || condvar.wait(&own, &*lock, lock.lock()).map(|mut guard| *guard += 1))
                .expect("a thread");
            until_waits(&stop, name, "a condition variable");
        }
        let held = lock.lock();
        assert!(condvar.notify_one());
        until_waits(&stop, "first", "a lock that others also take (notified)");
        assert_eq!(waits_of(&stop, "second")[0].what, "a condition variable");
        part.request("test");
        until_waits(&stop, "second", "a lock that others also take (notified)");
        drop(held);
        until("both have ended", || stop.report().members().is_empty());
        assert_eq!(*lock.lock(), 1);
    });
}

#[test]
fn law3_a_notification_goes_on_from_a_future_that_is_dropped() {
    guarded(|| {
        let stop = Stop::new("l3");
        let monitor = monitor("m", 0, &stop);
        let condvar = Arc::new(Condvar::new());
        for lock_is_free in [false, true] {
            let future = monitor.lock().expect("free").wait_async(&condvar);
            waiter(&stop, "second", &stop, &monitor, &condvar);
            let held = (!lock_is_free).then(|| monitor.lock().expect("free"));
            assert!(condvar.notify_one(), "to the future");
            // With the lock free the future has its turn; otherwise it is in the line.
            drop(future);
            drop(held);
            until("the second has ended", || stop.report().members().is_empty());
        }
        assert_eq!(*monitor.lock().expect("free"), 2);
    });
}

#[test]
fn law3_a_turn_goes_on_from_a_future_that_is_dropped_or_never_polled() {
    guarded(|| {
        let stop = Stop::new("l3");
        let monitor = monitor("m", 0_u32, &stop);
        for is_dropped in [true, false] {
            let held = monitor.lock().expect("free");
            let mut future = monitor.lock_async();
            assert!(poll_once(&mut future).is_pending());
            let own = monitor.clone();
            stop.spawn("behind", move || own.lock().map(drop)).expect("a thread");
            until_waits(&stop, "behind", "lock m");
            drop(held);
            if is_dropped {
                drop(future);
                until("the thread has ended", || stop.report().members().is_empty());
            } else {
                // The thread is woken together with the task.
                until("the thread has ended", || stop.report().members().is_empty());
                assert!(matches!(poll_once(&mut future), Poll::Ready(Ok(_))));
            }
        }
    });
}

/// Of tasks alone: one that was woken and is not polled does not keep the turn of the next one from those behind it.
#[test]
fn law3_a_turn_goes_on_from_a_task_that_is_stopped_or_dropped_behind_another() {
    guarded(|| {
        for is_stopped in [true, false] {
            let stop = Stop::new("l3");
            let part = stop.child("part");
            let monitor = monitor("m", 0_u32, &stop);
            let held = monitor.lock().expect("free");
            let [mut first, mut second, mut third] = [&stop, &part, &stop].map(|own| monitor.lock_async_in(own));
            for task in [&mut first, &mut second, &mut third] {
                assert!(poll_once(task).is_pending());
            }
            drop(held);
            drop(monitor.lock().expect("the first has its turn and is not polled"));
            if is_stopped {
                part.request("test");
            } else {
                drop(second);
            }
            assert!(matches!(poll_once(&mut third), Poll::Ready(Ok(_))));
            assert!(matches!(poll_once(&mut first), Poll::Ready(Ok(_))));
        }
    });
}

#[test]
fn law3_a_notification_or_a_timeout_and_never_neither() {
    guarded(|| {
        let stop = Stop::new("l3");
        let monitor = monitor("m", 0, &stop);
        let condvar = Arc::new(Condvar::new());
        let (mut timeouts, mut notified) = (0, 0);
        for round in 0..400 {
            let (m, c) = (monitor.clone(), condvar.clone());
            let first = stop.spawn("first", move || {
                let guard = m.lock().expect("not stopped");
                let deadline = Instant::now() + Duration::from_micros(20 * (round % 10));
                guard.wait_until(&c, deadline).map(|back| back.timed_out)
            });
            let first = first.expect("a thread");
            waiter(&stop, "second", &stop, &monitor, &condvar);
            condvar.notify_one();
            if first.join().expect("it ends").expect("not stopped") {
                timeouts += 1; // then the notification was the second's
            } else {
                notified += 1;
                assert!(condvar.notify_one());
            }
            until("both have ended", || stop.report().members().is_empty());
        }
        assert_eq!(timeouts + notified, 400);
        assert_eq!(*monitor.lock().expect("free"), 400, "the second was notified in each round");
    });
}

#[test]
fn law3_a_notification_or_a_stop_and_never_neither() {
    guarded(|| {
        let stop = Stop::new("l3");
        let monitor = monitor("m", 0, &stop);
        let condvar = Arc::new(Condvar::new());
        for _ in 0..400 {
            let part = stop.child("part");
            let (m, c, own) = (monitor.clone(), condvar.clone(), part.clone());
            let first = stop.spawn("first", move || m.lock_in(&own).expect("not stopped yet").wait(&c).is_err());
            until_waits(&stop, "first", "a condition variable of m");
            waiter(&stop, "second", &stop, &monitor, &condvar);
            thread::scope(|scope| {
                scope.spawn(|| part.request("test"));
                condvar.notify_one();
            });
            if !first.expect("a thread").join().expect("it ends") {
                assert!(condvar.notify_one(), "the first had it, the second waits");
            }
            until("both have ended", || stop.report().members().is_empty());
        }
        assert_eq!(*monitor.lock().expect("free"), 400);
    });
}

#[test]
fn law3_notify_one_serves_threads_and_tasks_in_the_order_in_which_they_came() {
    on_each_runtime(|| async {
        let stop = Stop::new("l3");
        let order = Arc::new(Monitor::new("m", parking_lot::Mutex::new(Vec::<usize>::new()), &stop));
        let condvar = Arc::new(Condvar::new());
        for number in 0..12 {
            let (m, c) = (order.clone(), condvar.clone());
            let name = format!("w{number}");
            if number % 2 == 0 {
                stop.spawn(&name, move || m.lock()?.wait(&c).map(|mut order| order.push(number))).expect("a thread");
            } else {
                // No guard is kept across an await: the future is made under the lock, and is `Send`.
                drop(stop.spawn_task(&name, async move {
                    let wait = m.lock()?.wait_async(&c);
                    wait.await.map(|mut order| order.push(number))
                }));
            }
            until_seen("it waits", || waits_of(&stop, &name).iter().any(|wait| wait.what.starts_with("a cond"))).await;
        }
        drop(order.lock()); // the last one is in the queue
        for number in 0..12 {
            assert!(condvar.notify_one());
            until_seen("it has come", || stop.report().members().len() == 11 - number).await;
        }
        assert!(!condvar.notify_one(), "nobody is left");
        assert_eq!(*order.lock().expect("free"), (0..12).collect::<Vec<_>>());
    });
}

#[test]
fn law3_notify_all_wakes_everybody_over_every_kind_of_lock() {
    on_each_runtime(|| async {
        let stop = Stop::new("l3");
        let one = monitor("one", 0_u32, &stop);
        let rw = Arc::new(Monitor::new("rw", std::sync::RwLock::new(0_u32), &stop));
        let foreign = Arc::new(Mutex::new(0_u32));
        let condvar = Arc::new(Condvar::new());
        // More than one batch of each.
        for _ in 0..40 {
            let (m, c) = (one.clone(), condvar.clone());
            drop(stop.spawn_task("task", async move {
                let wait = m.lock()?.wait_async(&c);
                wait.await.map(drop)
            }));
            let (m, c) = (rw.clone(), condvar.clone());
            drop(stop.spawn_task("reader", async move {
                let wait = m.read()?.wait_async(&c);
                wait.await.map(drop)
            }));
        }
        for _ in 0..20 {
            let (m, c) = (rw.clone(), condvar.clone());
            stop.spawn("writer", move || m.lock()?.wait(&c).map(drop)).expect("a thread");
            let (l, c, s) = (foreign.clone(), condvar.clone(), stop.clone());
            stop.spawn("foreign", move || c.wait(&s, &*l, l.lock().expect("not poisoned")).map(drop))
                .expect("a thread");
        }
        until_seen("all wait", || {
            let waits = |m: &unwedge::report::MemberReport| m.waits.iter().any(|w| w.what.starts_with("a cond"));
            stop.report().members().iter().all(waits)
        })
        .await;
        // All are in the queue when they have let go of their locks.
        drop((one.lock(), rw.lock(), foreign.lock()));
        assert_eq!(condvar.notify_all(), 120);
        until_seen("all have ended", || stop.report().members().is_empty()).await;
        assert!(!stop.is_requested());
    });
}

#[test]
fn law3_a_change_of_the_data_is_notification_enough_for_when() {
    on_each_runtime(|| async {
        let stop = Stop::new("l3");
        let count = monitor("count", 0_u32, &stop);
        // Each waits for the one before it: in the opposite order of their coming, threads and tasks in turn.
        for step in (1..=20).rev() {
            let m = count.clone();
            let look = move |n: &mut u32| (*n == step).then(|| *n += 1);
            if step % 2 == 0 {
                stop.spawn("step", move || m.when(look)).expect("a thread");
            } else {
                drop(stop.spawn_task("step", async move { m.when_async(look).await }));
            }
        }
        until_seen("all wait", || stop.report().members().iter().all(|member| member.waits.len() == 1)).await;
        drop(count.lock().expect("free")); // changes nothing
        *count.lock().expect("free") = 1;
        until_seen("all have ended", || stop.report().members().is_empty()).await;
        assert_eq!(*count.lock().expect("free"), 21);
    });
}

#[test]
fn law3_a_panic_under_the_lock_or_in_a_predicate_lets_the_next_one_in() {
    guarded(|| {
        let stop = Stop::new("l3");
        let monitor = Arc::new(Monitor::new("m", Mutex::new(0_u32), &stop));
        let held = monitor.lock().expect("free");
        let (a, b, c) = (monitor.clone(), monitor.clone(), monitor.clone());
        let first = stop.spawn("first", move || a.when(|n| -> Option<()> { panic!("in a closure, at {n}") }));
        until_waits(&stop, "first", "lock m");
        let second = stop.spawn("second", move || {
            let _guard = b.lock();
            panic!("under the lock, which is poisoned by it");
        });
        until_waits(&stop, "second", "lock m");
        let third = stop.spawn("third", move || c.lock().map(|guard| *guard));
        until_waits(&stop, "third", "lock m");
        drop(held);
        assert!(first.expect("a thread").join().is_err_and(|error| error.is_panicked()));
        let second: unwedge::Spawned<()> = second.expect("a thread");
        assert!(second.join().is_err_and(|error| error.is_panicked()));
        assert_eq!(third.expect("a thread").join().expect("no panic"), Ok(0));
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean());
        assert_eq!(report.panicked().len(), 2);
    });
}

/// A reader holds the lock, a writer waits for it in the domain `own` until `deadline`, and was overtaken until the line was closed for it.
/// Whether it is so: a writer may be gone by its deadline before that.
fn closed_for_a_writer(stop: &Stop, own: &Stop, monitor: &Arc<Monitor<parking_lot::RwLock<u32>>>) -> bool {
    let (m, own) = (monitor.clone(), own.clone());
    stop.spawn("writer", move || {
        // Whichever comes first, but a deadline only in its own test.
        if own.name() == "part" { m.lock_in(&own).is_ok() } else { m.lock_until(Instant::now() + SOON).is_ok() }
    })
    .expect("a thread");
    until("the writer waits", || waits_of(stop, "writer").len() == 1);
    while monitor.read_until(Instant::now()).is_ok() {
        if waits_of(stop, "writer").is_empty() {
            return false;
        }
    }
    true
}

const SOON: Duration = Duration::from_millis(200);

#[test]
fn law3_a_reader_behind_a_writer_that_gives_up_is_let_in() {
    guarded(|| {
        for by_timeout in [false, true] {
            let stop = Stop::new("l3");
            let part = stop.child("part");
            let monitor = Arc::new(Monitor::new("rw", parking_lot::RwLock::new(0_u32), &stop));
            let reader = monitor.read().expect("free");
            let own = if by_timeout { &stop } else { &part };
            while !closed_for_a_writer(&stop, own, &monitor) {}
            let m = monitor.clone();
            let behind = stop.spawn("behind", move || m.read().map(drop)).expect("a thread");
            until("it waits", || behind.is_finished() || !waits_of(&stop, "behind").is_empty());
            if !by_timeout {
                part.request("test");
            }
            // The lock is held for reading all the time. Once the writer is gone nothing keeps the reader out.
            until("the reader has ended", || behind.is_finished());
            drop(reader);
        }
    });
}

#[test]
fn law3_who_is_left_in_a_line_when_many_are_stopped_comes_to_the_lock() {
    guarded(|| {
        let stop = Stop::new("l3");
        let part = stop.child("part");
        let order = monitor("m", Vec::new(), &stop);
        let held = order.lock().expect("free");
        let mut waits = Vec::new();
        for number in 0..40 {
            // Each fourth is of the whole, the others of the part; a task and a thread in turn.
            let own = if number % 4 < 3 { part.clone() } else { stop.clone() };
            if number % 8 < 4 {
                let mut wait = order.lock_async_in(if number % 4 < 3 { &part } else { &stop });
                assert!(poll_once(&mut wait).is_pending());
                waits.push((number, wait));
            } else {
                let m = order.clone();
                let name = format!("w{number}");
                stop.spawn(&name, move || m.lock_in(&own).map(|mut order| order.push(number))).expect("a thread");
                until_waits(&stop, &name, "lock m");
            }
        }
        part.request("test");
        for (number, wait) in &mut waits {
            assert_eq!(poll_once(wait).is_ready(), *number % 4 < 3, "{number}");
        }
        until("the stopped threads have ended", || stop.report().members().len() == 5);
        drop(held);
        for (number, wait) in waits.iter_mut().filter(|(number, _)| number % 4 == 3) {
            // The task's turn comes when the threads before it had theirs.
            let mut polled = Poll::Pending;
            until("it has the lock", || {
                polled = poll_once(wait);
                polled.is_ready()
            });
            let Poll::Ready(Ok(mut order)) = polled else { panic!("it was not stopped") };
            order.push(*number);
        }
        until("all have ended", || stop.report().members().is_empty());
        let mut order = order.lock().expect("free");
        order.sort_unstable();
        assert_eq!(*order, (0..10).map(|number| 4 * number + 3).collect::<Vec<_>>());
    });
}

/// A task's waker that begins another wait, until there are `most`.
struct Again {
    monitor: &'static Monitor<parking_lot::Mutex<u32>>,
    condvar: &'static Condvar,
    waits: Mutex<Vec<Wait<'static, parking_lot::Mutex<u32>>>>,
    most: usize,
}

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        let wait = self.monitor.lock().expect("free").wait_async(self.condvar);
        let mut waits = self.waits.lock().expect("no panic");
        if waits.len() < self.most {
            waits.push(wait);
        }
    }
}

#[test]
fn law3_notify_all_wakes_those_who_waited_when_it_was_called_and_no_others() {
    // More than it serves at a time: those who come in between are none of its.
    const WAITS: usize = 100;
    guarded(|| {
        let stop = Stop::new("l3");
        let monitor = &*Box::leak(Box::new(Monitor::new("m", parking_lot::Mutex::new(0), &stop)));
        let condvar = &*Box::leak(Box::new(Condvar::new()));
        let again = Arc::new(Again { monitor, condvar, waits: Mutex::new(Vec::new()), most: 10 * WAITS });
        let waker = again.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut first: Vec<_> = (0..WAITS).map(|_| monitor.lock().expect("free").wait_async(condvar)).collect();
        assert!(first.iter_mut().all(|wait| Pin::new(wait).poll(&mut context).is_pending()));
        assert_eq!(condvar.notify_all(), WAITS);
        assert!(first.iter_mut().all(|wait| poll_once(wait).is_ready()));
        let mut later = std::mem::take(&mut *again.waits.lock().expect("no panic"));
        assert_eq!(later.len(), WAITS, "each has begun another one");
        assert!(later.iter_mut().all(|wait| poll_once(wait).is_pending()));
        assert_eq!(condvar.notify_all(), WAITS);
    });
}

#[test]
fn law3_one_notification_of_all_serves_the_waiters_of_two_monitors() {
    const NAMES: [&str; 4] = ["first", "second", "third", "fourth"];
    guarded(|| {
        let stop = Stop::new("l3");
        let monitors = [monitor("m", 0_u32, &stop), monitor("n", 0, &stop)];
        let condvar = Arc::new(Condvar::new());
        for round in 1..=10 {
            let waiters = [0, 1, 0, 1].map(|which| (monitors[which].clone(), condvar.clone()));
            for (name, (monitor, condvar)) in NAMES.into_iter().zip(waiters) {
                let waits = move || monitor.lock()?.wait_while(&condvar, |n| *n < round).map(drop);
                stop.spawn(name, waits).expect("a thread");
                until("it waits", || !waits_of(&stop, name).is_empty());
            }
            for monitor in &monitors {
                *monitor.lock().expect("free") = round;
            }
            assert_eq!(condvar.notify_all(), NAMES.len());
            until("all have ended", || stop.report().members().is_empty());
            // Each line is as it was: who queues there is let in.
            for (monitor, name) in monitors.iter().zip(["m", "n"]) {
                let held = monitor.lock().expect("free");
                let own = monitor.clone();
                let next = stop.spawn("next", move || own.lock().map(drop)).expect("a thread");
                until_waits(&stop, "next", &format!("lock {name}"));
                drop(held);
                next.join().expect("no panic").expect("not stopped");
            }
        }
    });
}
