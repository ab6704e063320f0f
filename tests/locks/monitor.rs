//! Every lock in a monitor: lock, wait, notify, stop and `when`, for threads and for tasks.
//!
//! The state is an atomic beside the lock, changed under it, so that locks without data take part.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Condvar, Monitor, Stop, Stopped, WaitError,
    lock::{Lock, LockData, SharedLock},
};

use crate::GUARD;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime")
}

/// Blocks on a future outside any runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// Six threads, three of them as tasks, count under the lock: no update is lost, so it excludes.
fn counts<L: Lock + Send + Sync>(lock: L) {
    const EACH: u64 = 500;
    let stop = Stop::new("counts");
    let monitor = Monitor::new("counted", lock, &stop);
    let count = AtomicU64::new(0);
    let add = || count.store(count.load(Relaxed) + 1, Relaxed); // two steps: only the lock makes them one
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                for _ in 0..EACH {
                    let guard = monitor.lock().expect("no stop");
                    add();
                    drop(guard);
                }
            });
            s.spawn(|| {
                block_on(async {
                    for _ in 0..EACH {
                        let guard = monitor.lock_async().await.expect("no stop");
                        add();
                        drop(guard);
                    }
                });
            });
        }
    });
    assert_eq!(count.into_inner(), 6 * EACH);
}

/// A thread and a task wait for a state; a notification after the change wakes both.
fn notifies<L: Lock + Send + Sync>(lock: L) {
    let stop = Stop::new("notifies");
    let monitor = Monitor::new("notified", lock, &stop);
    let (changed, state) = (Condvar::new(), AtomicU64::new(0));
    let (waits, waiting) = mpsc::channel();
    thread::scope(|s| {
        let by_thread = s.spawn({
            let (waits, monitor, changed, state) = (waits.clone(), &monitor, &changed, &state);
            move || {
                let mut guard = monitor.lock()?;
                waits.send(()).expect("the test waits");
                while state.load(SeqCst) == 0 {
                    guard = guard.wait(changed)?;
                }
                Ok::<u64, Stopped>(state.fetch_add(1, SeqCst))
            }
        });
        let by_task = s.spawn({
            let (monitor, changed, state) = (&monitor, &changed, &state);
            move || {
                block_on(async {
                    let mut guard = monitor.lock_async().await?;
                    waits.send(()).expect("the test waits");
                    while state.load(SeqCst) == 0 {
                        guard = guard.wait_async(changed).await?;
                    }
                    Ok::<u64, Stopped>(state.fetch_add(1, SeqCst))
                })
            }
        });
        for _ in 0..2 {
            waiting.recv_timeout(GUARD).expect("both come to wait");
        }
        let guard = monitor.lock().expect("no stop"); // so both have let it go: they are registered
        state.store(7, SeqCst);
        assert_eq!(changed.notify_all(), 2);
        drop(guard);
        let mut seen = [by_thread, by_task].map(|waiter| waiter.join().expect("no panic").expect("no stop"));
        seen.sort_unstable();
        assert_eq!(seen, [7, 8], "one after the other, under the lock");
    });
}

/// A thread and a task wait on a condition, another two for the lock; the stopper holds the lock until all have ended.
fn stops<L: Lock + Send + Sync>(lock: L) {
    let stop = Stop::new("stops");
    let monitor = Monitor::new("stopped", lock, &stop);
    let never = Condvar::new();
    let (waits, waiting) = mpsc::channel();
    thread::scope(|s| {
        let on_condition = [
            s.spawn({
                let (waits, monitor, never) = (waits.clone(), &monitor, &never);
                move || {
                    let mut guard = monitor.lock()?;
                    waits.send(()).expect("the test waits");
                    loop {
                        guard = guard.wait(never)?;
                    }
                }
            }),
            s.spawn({
                let (monitor, never) = (&monitor, &never);
                move || {
                    block_on(async {
                        let mut guard = monitor.lock_async().await?;
                        waits.send(()).expect("the test waits");
                        loop {
                            guard = guard.wait_async(never).await?;
                        }
                    })
                }
            }),
        ];
        for _ in 0..2 {
            waiting.recv_timeout(GUARD).expect("both come to wait");
        }
        let held = monitor.lock().expect("no stop");
        let for_lock = [
            s.spawn(|| monitor.lock().map(drop)),
            s.spawn(|| block_on(async { monitor.lock_async().await.map(drop) })),
        ];
        stop.request("the test is over");
        for waiter in on_condition {
            let ended: Result<(), Stopped> = waiter.join().expect("no panic");
            assert_eq!(ended, Err(Stopped), "while the stopper holds the lock");
        }
        for waiter in for_lock {
            assert_eq!(waiter.join().expect("no panic"), Err(Stopped), "while the stopper holds the lock");
        }
        drop(held);
    });
    assert!(monitor.lock().is_err(), "this life is over");
    // The next life takes the same lock.
    let next = Stop::new("next");
    let monitor = Monitor::new("stopped", monitor.into_lock(), &next);
    drop(monitor.lock().expect("nobody has kept it"));
}

/// A deadline for the lock: it passes while the lock is held, and does no harm when it is free.
fn times_out<L: Lock + Send + Sync>(lock: L) {
    let stop = Stop::new("times_out");
    let monitor = Monitor::new("held", lock, &stop);
    let held = monitor.lock().expect("no stop");
    thread::scope(|s| {
        s.spawn(|| {
            let until = Instant::now() + Duration::from_millis(20);
            assert_eq!(monitor.lock_until(until).map(drop), Err(WaitError::TimedOut));
            assert!(Instant::now() >= until);
        });
    });
    drop(held);
    assert!(monitor.lock_until(Instant::now() + GUARD).is_ok());
}

/// `when`: a thread takes odd numbers, a task even ones, and nobody notifies. The task's future is `Send`, whatever the lock's guard is.
fn whens<L: LockData<Data = u64> + Send + Sync + 'static>(lock: L) {
    let stop = Stop::new("whens");
    let monitor = Arc::new(Monitor::new("when", lock, &stop));
    let runtime = runtime();
    let even = runtime.spawn({
        let monitor = monitor.clone();
        async move {
            for _ in 0..100 {
                monitor.when_async(|n| (*n % 2 == 0).then(|| *n += 1)).await?;
            }
            Ok::<(), Stopped>(())
        }
    });
    for _ in 0..100 {
        monitor.when(|n| (*n % 2 == 1).then(|| *n += 1)).expect("no stop");
    }
    runtime.block_on(even).expect("no panic").expect("no stop");
    assert_eq!(monitor.when(|n| Some(*n)), Ok(200));
    // And a stop ends both forms.
    let forever = runtime.spawn({
        let monitor = monitor.clone();
        async move { monitor.when_async(|n| (*n == 0).then_some(())).await }
    });
    thread::scope(|s| {
        let waiter = s.spawn(|| monitor.when(|n| (*n == 0).then_some(())));
        stop.request("the test is over");
        assert_eq!(waiter.join().expect("no panic"), Err(Stopped));
    });
    assert_eq!(runtime.block_on(forever).expect("no panic"), Err(Stopped));
}

/// Readers hold the lock together, wait and are notified with a read guard; a writer is alone; a stop ends readers too.
fn reads<L: SharedLock + Send + Sync>(lock: L) {
    let stop = Stop::new("reads");
    let monitor = Monitor::new("shared", lock, &stop);
    let (changed, state) = (Condvar::new(), AtomicU64::new(0));
    let (waits, waiting) = mpsc::channel();
    thread::scope(|s| {
        let first = monitor.read().expect("no stop");
        let second = s.spawn(|| monitor.read_until(Instant::now() + GUARD).map(drop));
        assert_eq!(second.join().expect("no panic"), Ok(()), "readers share");
        let writer = s.spawn(|| monitor.lock_until(Instant::now() + Duration::from_millis(20)).map(drop));
        assert_eq!(writer.join().expect("no panic"), Err(WaitError::TimedOut), "a reader holds it");
        drop(first);

        let readers = [(); 2].map(|()| {
            let (waits, monitor, changed, state) = (waits.clone(), &monitor, &changed, &state);
            s.spawn(move || {
                let mut guard = monitor.read()?;
                waits.send(()).expect("the test waits");
                while state.load(SeqCst) == 0 {
                    guard = guard.wait(changed)?;
                }
                while state.load(SeqCst) == 1 {
                    guard = guard.wait(changed)?;
                }
                Ok::<(), Stopped>(())
            })
        });
        for _ in 0..2 {
            waiting.recv_timeout(GUARD).expect("both come to wait");
        }
        let alone = monitor.lock().expect("no stop"); // so both have let it go: they are registered
        state.store(1, SeqCst);
        assert_eq!(changed.notify_all(), 2);
        drop(alone);
        let alone = monitor.lock().expect("no stop");
        stop.request("the test is over");
        for reader in readers {
            assert_eq!(reader.join().expect("no panic"), Err(Stopped), "while a writer holds the lock");
        }
        drop(alone);
    });
}

/// A module of tests for a lock: each body over a fresh one.
macro_rules! over {
    ($module:ident, $lock:expr, $($body:ident)*) => {
        mod $module {
            over!(@each $lock, counts notifies stops times_out $($body)*);
        }
    };
    (@each $lock:expr, $($body:ident)*) => {
        $(#[test] fn $body() { crate::guarded(|| crate::monitor::$body($lock)) })*
    };
}

over!(std_mutex, std::sync::Mutex::new(0), whens);
over!(std_rwlock, std::sync::RwLock::new(0), whens reads);
over!(own_spin, crate::kinds::Spin::default(),);
over!(own_ticket, crate::kinds::Ticket::default(),);

#[cfg(feature = "parking_lot")]
mod with_lock_api_04 {
    over!(mutex, parking_lot::Mutex::new(0), whens);
    over!(fair_mutex, parking_lot::FairMutex::new(0), whens);
    over!(rwlock, parking_lot::RwLock::new(0), whens reads);
    over!(reentrant_mutex, parking_lot::ReentrantMutex::new(0),);
    over!(spin_mutex, spin::lock_api::Mutex::new(0), whens);
}

#[cfg(feature = "parking_lot_0_13")]
mod with_lock_api_05 {
    over!(mutex, parking_lot_13::Mutex::new(0), whens);
    over!(fair_mutex, parking_lot_13::FairMutex::new(0), whens);
    over!(rwlock, parking_lot_13::RwLock::new(0), whens reads);
    over!(reentrant_mutex, parking_lot_13::ReentrantMutex::new(0),);
}

#[cfg(feature = "tokio")]
mod with_tokio {
    over!(mutex, tokio::sync::Mutex::new(0), whens);
    over!(rwlock, tokio::sync::RwLock::new(0), whens reads);
}

/// What is written in the place of a `when` over a lock whose guards are shared: a loop over a condition variable, as a thread and as a task.
#[cfg(feature = "parking_lot")]
#[test]
fn a_reentrant_mutex_is_waited_for_in_a_loop() {
    use std::cell::Cell;

    crate::guarded(|| {
        let stop = Stop::new("reentrant");
        let changed = Condvar::new();
        let monitor = Monitor::new("m", parking_lot::ReentrantMutex::new(Cell::new(0)), &stop);
        thread::scope(|s| {
            let thread = s.spawn(|| {
                let mut guard = monitor.lock()?;
                while guard.get() == 0 {
                    guard = guard.wait(&changed)?;
                }
                let inner = monitor.lock()?; // a second level, which a wait does not need
                inner.set(inner.get() + 1);
                Ok::<u64, Stopped>(guard.get())
            });
            let mut task = std::pin::pin!(async {
                let mut guard = monitor.lock_async().await?;
                while guard.get() == 0 {
                    guard = guard.wait_async(&changed).await?;
                }
                guard.set(guard.get() + 1);
                Ok::<u64, Stopped>(guard.get())
            });
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(task.as_mut().poll(&mut context).is_pending());
            let guard = monitor.lock().expect("no stop");
            let inner = monitor.lock().expect("its own level");
            inner.set(1);
            drop(inner);
            changed.notify_all();
            drop(guard);
            let by_thread = thread.join().expect("no panic").expect("no stop");
            let by_task = loop {
                match task.as_mut().poll(&mut context) {
                    std::task::Poll::Ready(seen) => break seen.expect("no stop"),
                    std::task::Poll::Pending => thread::yield_now(),
                }
            };
            let mut seen = [by_thread, by_task];
            seen.sort_unstable();
            assert_eq!(seen, [2, 3], "each saw the change, and made one");
        });
    });
}
