//! L6, the wakers' part: a waker is cloned, woken and dropped with no lock of unwedge's held, and one that panics strands nobody.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use unwedge::{Completion, Condvar, Monitor, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits, waits_of};

/// A waker that runs code of the test's at each of the three occasions.
struct Hooked {
    on: Box<dyn Fn(Occasion) + Send + Sync>,
    woken: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    Clone,
    Wake,
    Drop,
}

impl Hooked {
    fn new(on: impl Fn(Occasion) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Hooked { on: Box::new(on), woken: AtomicUsize::new(0) })
    }

    fn waker(self: &Arc<Self>) -> Waker {
        // SAFETY: the table below keeps the contract of a waker: each waker owns one count of an `Arc<Hooked>`, which is `Send + Sync`.
        unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(self.clone()).cast(), &TABLE)) }
    }

    fn woken(&self) -> usize {
        self.woken.load(SeqCst)
    }
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// The count that a waker owns.
///
/// # Safety
/// `data` is of a waker of `TABLE`, which is used up by this.
unsafe fn own(data: *const ()) -> Arc<Hooked> {
    // SAFETY: it came from `Arc::into_raw` in `Hooked::waker` or `clone`.
    unsafe { Arc::from_raw(data.cast()) }
}

/// What a waker points to.
///
/// # Safety
/// `data` is of a waker of `TABLE` that outlives the result.
unsafe fn look<'a>(data: *const ()) -> &'a Hooked {
    // SAFETY: the waker owns a count.
    unsafe { &*data.cast::<Hooked>() }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the caller has a waker.
    (unsafe { look(data) }.on)(Occasion::Clone);
    // SAFETY: it came from `Arc::into_raw`; the new waker owns the new count.
    unsafe { Arc::<Hooked>::increment_strong_count(data.cast()) };
    RawWaker::new(data, &TABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: waking uses the waker up.
    let hooked = unsafe { own(data) };
    hooked.woken.fetch_add(1, SeqCst);
    (hooked.on)(Occasion::Wake);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the caller has a waker.
    let hooked = unsafe { look(data) };
    hooked.woken.fetch_add(1, SeqCst);
    (hooked.on)(Occasion::Wake);
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: dropping uses the waker up.
    let hooked = unsafe { own(data) };
    (hooked.on)(Occasion::Drop);
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// What a panic may carry: its own drop panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

/// Wakers of every kind: three of them panic, with plain and with vicious payloads.
fn panicking() -> Vec<Arc<Hooked>> {
    (0..9)
        .map(|number| {
            Hooked::new(move |occasion| match (number % 3, occasion) {
                (1, Occasion::Wake) => panic!("a waker that panics"),
                (2, Occasion::Wake) => std::panic::panic_any(Bomb),
                _ => {}
            })
        })
        .collect()
}

/// Where another test requests a stop at the same moment, that request may have the wakers in hand.
fn all_woken(hooked: &[Arc<Hooked>]) {
    for (number, hooked) in hooked.iter().enumerate() {
        until(&format!("waker {number} is woken"), || hooked.woken() != 0);
    }
}

#[test]
fn law6_a_waker_that_panics_strands_nobody_at_a_request() {
    guarded(|| {
        let stop = Stop::new("l6");
        let monitor = Monitor::new("m", Mutex::new(0_u32), &stop);
        let condvar = Condvar::new();
        let wakers = panicking();
        let mut futures: Vec<Pin<Box<dyn Future<Output = bool> + '_>>> = Vec::new();
        for number in 0..9 {
            let (completer, owed) = Completion::<u32>::new("never", &stop);
            match number % 4 {
                0 => futures.push(Box::pin(async {
                    stop.requested().await;
                    true
                })),
                1 => futures.push(Box::pin(async { monitor.when_async(|_| None::<()>).await.is_err() })),
                2 => futures.push(Box::pin(async {
                    let wait = monitor.lock().expect("free").wait_async(&condvar);
                    wait.await.is_err()
                })),
                _ => futures.push(Box::pin(async move {
                    let _completer = completer;
                    owed.await.is_err()
                })),
            }
        }
        for (future, hooked) in futures.iter_mut().zip(&wakers) {
            assert!(poll(future, &hooked.waker()).is_pending());
        }
        assert!(stop.request("test"));
        all_woken(&wakers);
        for (future, hooked) in futures.iter_mut().zip(&wakers) {
            assert_eq!(poll(future, &hooked.waker()), Poll::Ready(true));
        }
    });
}

#[test]
fn law6_a_waker_that_panics_strands_nobody_at_a_notification_an_unlock_or_a_completion() {
    guarded(|| {
        let stop = Stop::new("l6");
        let monitor = Monitor::new("m", Mutex::new(0_u32), &stop);
        let condvar = Condvar::new();
        // notify_all: all go to the line, and each unlock gives the next one its turn.
        let wakers = panicking();
        let mut waits: Vec<_> = wakers.iter().map(|_| monitor.lock().expect("free").wait_async(&condvar)).collect();
        for (wait, hooked) in waits.iter_mut().zip(&wakers) {
            assert!(poll(wait, &hooked.waker()).is_pending());
        }
        assert_eq!(condvar.notify_all(), wakers.len());
        for (wait, hooked) in waits.iter_mut().zip(&wakers) {
            assert_ne!(hooked.woken(), 0, "it has its turn when those before it had theirs");
            let Poll::Ready(Ok(guard)) = poll(wait, &hooked.waker()) else { panic!("it has no lock") };
            drop(guard);
        }
        // An unlock.
        let wakers = panicking();
        let held = monitor.lock().expect("free");
        let mut locks: Vec<_> = wakers.iter().map(|_| monitor.lock_async()).collect();
        for (lock, hooked) in locks.iter_mut().zip(&wakers) {
            assert!(poll(lock, &hooked.waker()).is_pending());
        }
        drop(held);
        for (lock, hooked) in locks.iter_mut().zip(&wakers) {
            assert_ne!(hooked.woken(), 0);
            let Poll::Ready(Ok(guard)) = poll(lock, &hooked.waker()) else { panic!("it has no lock") };
            drop(guard);
        }
        // A completion.
        for hooked in panicking() {
            let (completer, mut owed) = Completion::<u32>::new("value", &stop);
            assert!(poll(&mut owed, &hooked.waker()).is_pending());
            assert_eq!(completer.complete(1), Ok(()));
            assert_eq!(hooked.woken(), 1);
            assert_eq!(poll(&mut owed, &hooked.waker()), Poll::Ready(Ok(Ok(1))));
        }
        // A thread that is notified together with the tasks before it.
        let wakers = panicking();
        let condvar = Arc::new(Condvar::new());
        let mut waits: Vec<_> = wakers.iter().map(|_| monitor.lock().expect("free").wait_async(&condvar)).collect();
        for (wait, hooked) in waits.iter_mut().zip(&wakers) {
            assert!(poll(wait, &hooked.waker()).is_pending());
        }
        let (c, own) = (condvar.clone(), stop.clone());
        let lock = Arc::new(parking_lot::Mutex::new(()));
        let l = lock.clone();
        let foreign = stop.spawn("foreign", move || c.wait(&own, &*l, l.lock()).is_ok());
        until_waits(&stop, "foreign", "a condition variable");
        drop(lock.lock()); // it is in the queue
        assert_eq!(condvar.notify_all(), wakers.len() + 1);
        assert!(foreign.expect("a thread").join().expect("no panic"));
    });
}

#[test]
fn law6_wakers_may_call_back_into_everything() {
    guarded(|| {
        let stop = Stop::new("l6");
        let monitor = Arc::new(Monitor::new("m", Mutex::new(0_u32), &stop));
        let condvar = Condvar::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let reenter = {
            let (stop, monitor, calls) = (stop.clone(), monitor.clone(), calls.clone());
            move |_: Occasion| {
                calls.fetch_add(1, SeqCst);
                let _ = monitor.try_lock();
                let none = Condvar::new();
                if let Ok(Some(guard)) = monitor.try_lock() {
                    let wait = guard.wait_async(&none);
                    none.notify_all();
                    drop(wait);
                }
                let _ = stop.report().to_string();
                let child = stop.child("of a waker");
                let (completer, mut owed) = Completion::<u32>::new("value", &child);
                let _ = completer.complete(1);
                let _ = owed.wait();
                let inner = monitor.clone();
                drop(inner.lock_async());
                let _ = stop.is_requested();
            }
        };
        let hooked = Hooked::new(reenter.clone());
        let mut when = monitor.when_async(|n| (*n == 1).then_some(()));
        let mut wait = monitor.lock().expect("free").wait_async(&condvar);
        let (completer, mut owed) = Completion::<u32>::new("value", &stop);
        let mut requested = stop.requested();
        assert!(poll(&mut when, &hooked.waker()).is_pending());
        assert!(poll(&mut wait, &hooked.waker()).is_pending());
        assert!(poll(&mut owed, &hooked.waker()).is_pending());
        assert!(poll(&mut requested, &hooked.waker()).is_pending());
        // Another waker in the same place: the old one is dropped.
        let other = Hooked::new(reenter);
        assert!(poll(&mut owed, &other.waker()).is_pending());
        assert_eq!(completer.complete(1), Ok(()));
        assert_eq!(other.woken(), 1);
        *monitor.lock().expect("free") = 1;
        condvar.notify_all();
        let mut held = monitor.lock_async();
        assert!(poll(&mut held, &hooked.waker()).is_ready());
        let guard = monitor.lock().expect("free");
        let mut queued = monitor.lock_async();
        assert!(poll(&mut queued, &hooked.waker()).is_pending());
        stop.request("with the lock held, which the wakers want");
        drop(guard);
        assert!(poll(&mut queued, &hooked.waker()).is_ready());
        assert!(poll(&mut requested, &hooked.waker()).is_ready());
        drop((when, wait, owed, queued));
        assert!(calls.load(SeqCst) > 10);
    });
}

#[test]
fn law6_wakers_may_block_for_the_lock_that_they_are_woken_for() {
    guarded(|| {
        let stop = Stop::new("l6");
        let monitor = Arc::new(Monitor::new("m", parking_lot::Mutex::new(0_u32), &stop));
        let m = monitor.clone();
        let hooked = Hooked::new(move |occasion| {
            if occasion == Occasion::Wake {
                // At an unlock it is free; at a request under the lock this is stopped at once.
                if let Ok(mut n) = m.lock() {
                    *n += 1;
                }
            }
        });
        let held = monitor.lock().expect("free");
        let mut lock = monitor.lock_async();
        assert!(poll(&mut lock, &hooked.waker()).is_pending());
        drop(held);
        let Poll::Ready(Ok(held)) = poll(&mut lock, &hooked.waker()) else { panic!("it has no lock") };
        assert_eq!(*held, 1, "the waker had it first");
        let mut lock = monitor.lock_async();
        assert!(poll(&mut lock, &hooked.waker()).is_pending());
        stop.request("under the lock");
        assert_eq!(hooked.woken(), 2);
        assert!(matches!(poll(&mut lock, &hooked.waker()), Poll::Ready(Err(_))));
        drop(held);
    });
}

#[test]
fn law6_a_waker_whose_clone_or_drop_panics_leaves_the_queues_whole() {
    guarded(|| {
        let stop = Stop::new("l6");
        let monitor = Arc::new(Monitor::new("m", parking_lot::Mutex::new(0_u32), &stop));
        let condvar = Arc::new(Condvar::new());
        for bad in [Occasion::Clone, Occasion::Drop] {
            let hooked = Hooked::new(move |occasion| assert_ne!(occasion, bad, "on purpose"));
            let held = monitor.lock().expect("free");
            let own = monitor.clone();
            let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let waker = std::mem::ManuallyDrop::new(hooked.waker());
                let mut lock = own.lock_async();
                assert!(poll(&mut lock, &waker).is_pending());
                // Dropping the future drops the clone.
                drop(lock);
            }));
            assert_eq!(polled.is_err(), bad == Occasion::Clone, "a clone's panic is the poll's; a drop's is contained");
            let own = monitor.clone();
            let behind = stop.spawn("behind", move || own.lock().map(drop)).expect("a thread");
            until("it waits", || !waits_of(&stop, "behind").is_empty());
            drop(held);
            assert_eq!(behind.join().expect("no panic"), Ok(()));
            // The same on a condition.
            let own = monitor.clone();
            let c = condvar.clone();
            let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let waker = std::mem::ManuallyDrop::new(hooked.waker());
                let mut wait = own.lock().expect("free").wait_async(&c);
                assert!(poll(&mut wait, &waker).is_pending());
                drop(wait);
            }));
            assert_eq!(polled.is_err(), bad == Occasion::Clone, "a clone's panic is the poll's; a drop's is contained");
            assert!(!condvar.notify_one(), "nobody is linked");
            assert!(monitor.lock().is_ok());
        }
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

/// A stop passes on what those whom it ends had taken: a turn at a lock, to a task of another life, whose waker blocks.
#[test]
fn law6_a_waker_that_blocks_keeps_no_thread_from_being_stopped() {
    guarded(|| {
        let (stop, other) = (Stop::new("l6"), Stop::new("another life"));
        let monitor = Monitor::new("m", Mutex::new(0_u32), &other);
        let owed: Vec<_> = (0..20).map(|_| Completion::<u32>::new("never", &stop)).collect();
        let (_completers, waits): (Vec<_>, Vec<_>) = owed.into_iter().unzip();
        let mut waits = waits.into_iter().enumerate();
        let mut wait_on_a_thread = |count| {
            for (number, mut wait) in waits.by_ref().take(count) {
                let name = format!("waits {number}");
                stop.spawn(&name, move || wait.wait().is_err()).expect("a thread");
                until_waits(&stop, &name, "never");
            }
        };
        // Slots before and behind that of the one that has a turn.
        wait_on_a_thread(10);
        let held = monitor.lock().expect("free");
        let quiet = Hooked::new(|_| ());
        let mut first = monitor.lock_async_in(&stop);
        assert!(poll(&mut first, &quiet.waker()).is_pending());
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let blocking = Hooked::new(move |occasion| {
            if occasion == Occasion::Wake {
                gone.lock().expect("no panic").recv().ok();
            }
        });
        let mut second = monitor.lock_async();
        assert!(poll(&mut second, &blocking.waker()).is_pending());
        wait_on_a_thread(10);
        drop(held);
        assert_eq!((quiet.woken(), blocking.woken()), (1, 0), "the first one has its turn");
        let own = stop.clone();
        let request = std::thread::spawn(move || own.request("test"));
        // Here, or in another test's stop that came to it first.
        until("it blocks", || blocking.woken() == 1);
        until("all threads have ended", || stop.report().members().is_empty());
        go.send(()).expect("it waits");
        assert!(request.join().expect("no panic"));
        let Poll::Ready(Err(_)) = poll(&mut first, &quiet.waker()) else { panic!("it is stopped") };
        let Poll::Ready(Ok(_)) = poll(&mut second, &quiet.waker()) else { panic!("the turn came to it") };
    });
}
