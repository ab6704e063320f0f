//! L6, the rest: callbacks run on the domain's own thread, and a user's lock, unlock and `Drop` may call back into everything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use unwedge::lock::{ForeignLock, Lock};
use unwedge::{Completion, Condvar, Monitor, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits, waits_of};

#[test]
fn law6_a_callback_takes_the_lock_that_its_completer_holds() {
    guarded(|| {
        let stop = Stop::new("l6");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(0_u32), &stop));
        let (completer, completion) = Completion::<u32>::new("read", &stop);
        let (ran, has_run) = mpsc::channel();
        let m = mds.clone();
        completion
            .on_complete(&stop, move |result| {
                let name = thread::current().name().map(str::to_owned);
                let mut state = m.lock().expect("not stopped");
                *state = result.expect("not stopped").expect("completed");
                ran.send(name).expect("the test waits");
            })
            .expect("a thread");
        let held = mds.lock().expect("free");
        completer.complete(7).expect("wanted"); // runs no callback, so it returns
        assert_eq!(*held, 0);
        drop(held);
        assert_eq!(has_run.recv_timeout(GUARD).expect("it runs").as_deref(), Some("uw-callback"));
        assert_eq!(*mds.lock().expect("free"), 7);
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn law6_a_request_under_the_lock_runs_callbacks_elsewhere_and_they_find_it_stopped() {
    guarded(|| {
        let stop = Stop::new("l6");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(0_u32), &stop));
        let (_completer, completion) = Completion::<u32>::new("read", &stop);
        let (ran, has_run) = mpsc::channel();
        let m = mds.clone();
        completion
            .on_complete(&stop, move |result| {
                ran.send((result.is_err(), m.lock().is_err())).expect("the test waits");
            })
            .expect("a thread");
        let held = mds.lock().expect("free");
        stop.request("under the lock");
        assert_eq!(has_run.recv_timeout(GUARD), Ok((true, true)));
        let report = stop.shutdown_holding(held, Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
    });
}

#[test]
fn law6_a_callback_that_panics_and_a_start_hook_that_panics_cost_no_other_callback() {
    guarded(|| {
        let stop = Stop::builder("l6").on_thread_start(|name| assert_ne!(name, "uw-callback", "on purpose")).build();
        let (ran, has_run) = mpsc::channel();
        for number in 0..3 {
            let (completer, completion) = Completion::<u32>::new("read", &stop);
            let ran = ran.clone();
            completion
                .on_complete(&stop, move |_| {
                    assert_ne!(number, 1, "on purpose");
                    ran.send(number).expect("the test waits");
                })
                .expect("a thread");
            completer.complete(number).expect("wanted");
        }
        assert_eq!(has_run.recv_timeout(GUARD), Ok(0));
        assert_eq!(has_run.recv_timeout(GUARD), Ok(2));
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
    });
}

#[test]
fn law6_all_callbacks_of_a_domain_run_on_one_thread() {
    guarded(|| {
        let stop = Stop::new("l6");
        let (ran, has_run) = mpsc::channel();
        let mut threads: Vec<_> = (0..20)
            .map(|_| {
                let (completer, completion) = Completion::<u32>::new("read", &stop);
                let ran = ran.clone();
                completion
                    .on_complete(&stop, move |_| ran.send(thread::current().id()).expect("the test waits"))
                    .expect("a thread");
                completer.complete(1).expect("wanted");
                // One after another, so that the thread has nothing to do in between.
                has_run.recv_timeout(GUARD).expect("it runs")
            })
            .collect();
        threads.dedup();
        assert_eq!(threads.len(), 1);
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

/// A value whose drop does everything that a user can do.
struct Reentrant {
    stop: Stop,
    monitor: Arc<Monitor<parking_lot::Mutex<u32>>>,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Reentrant {
    fn drop(&mut self) {
        if let Ok(mut n) = self.monitor.lock() {
            *n += 1;
        }
        let _ = self.stop.report().to_string();
        let child = self.stop.child("of a drop");
        child.request("in a drop");
        let (completer, owed) = Completion::<u32>::new("value", &child);
        drop(owed);
        assert_eq!(completer.complete(1), Err(1));
        if let Ok(spawned) = self.stop.spawn("of a drop", || ()) {
            drop(spawned);
        }
        self.dropped.fetch_add(1, SeqCst);
    }
}

#[test]
fn law6_a_drop_may_call_back_into_everything() {
    guarded(|| {
        let stop = Stop::new("l6");
        let monitor = Arc::new(Monitor::new("m", parking_lot::Mutex::new(0_u32), &stop));
        let dropped = Arc::new(AtomicUsize::new(0));
        let value = || Reentrant { stop: stop.clone(), monitor: monitor.clone(), dropped: dropped.clone() };
        // A value in a completion that is dropped.
        let (completer, completion) = Completion::<Reentrant>::new("value", &stop);
        assert!(completer.complete(value()).is_ok());
        drop(completion);
        // A value that comes back.
        let (completer, completion) = Completion::<Reentrant>::new("value", &stop);
        drop(completion);
        drop(completer.complete(value()));
        // A result that nobody wants, and what a thread's closure has caught.
        let (result, caught) = (value(), value());
        drop(stop.spawn("result", move || {
            let _caught = caught;
            result
        }));
        // What a callback has caught, with an outcome that it ignores.
        let (completer, completion) = Completion::<Reentrant>::new("value", &stop);
        let caught = value();
        completion.on_complete(&stop, move |_| drop(caught)).expect("a thread");
        drop(completer.complete(value()));
        // What a future has caught that is never polled, and one that is dropped half-way.
        let caught = value();
        let (spawned, future) = stop.track("task", async move { drop(caught) });
        drop((future, spawned));
        let caught = value();
        let m = monitor.clone();
        let held = monitor.lock().expect("free");
        let (spawned, future) = stop.track("task", async move {
            let _caught = caught;
            m.lock_async().await.map(drop)
        });
        let mut future = Box::pin(future);
        assert!(crate::poll_once(&mut future).is_pending());
        drop(held);
        drop((future, spawned));
        // What the closure of a `when` has caught, and a phase's step.
        let caught = value();
        assert_eq!(monitor.when(move |_| Some(caught.dropped.load(SeqCst) > 0)), Ok(true));
        let caught = value();
        let plan = Plan::within(GUARD).phase("step", GUARD, move |_| {
            drop(caught);
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert!(report.is_clean(), "{report}");
        assert_eq!(dropped.load(SeqCst), 10);
    });
}

/// A lock whose every step calls back.
struct Talkative {
    locked: AtomicBool,
    talk: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

struct Talking<'a>(&'a Talkative);

impl Talkative {
    fn talk(&self) {
        let talk = self.talk.lock().expect("not poisoned").clone();
        if let Some(talk) = talk {
            talk();
        }
    }
}

impl Drop for Talking<'_> {
    fn drop(&mut self) {
        self.0.talk();
        self.0.locked.store(false, SeqCst);
        self.0.talk();
    }
}

impl Lock for Talkative {
    type Guard<'a> = Talking<'a>;

    fn try_lock(&self) -> Option<Talking<'_>> {
        self.talk();
        (!self.locked.swap(true, SeqCst)).then(|| Talking(self))
    }
}

impl ForeignLock for Talkative {}

#[test]
fn law6_a_lock_may_call_back_into_everything() {
    guarded(|| {
        let stop = Stop::new("l6");
        let lock = || Talkative { locked: AtomicBool::new(false), talk: Mutex::new(None) };
        let monitor = Arc::new(Monitor::new("m", lock(), &stop));
        let foreign = Arc::new(lock());
        let condvar = Arc::new(Condvar::new());
        let talk: Arc<dyn Fn() + Send + Sync> = {
            let (stop, condvar) = (stop.clone(), condvar.clone());
            Arc::new(move || {
                let _ = stop.report().to_string();
                let _ = stop.child("of a lock").is_requested();
                let other = Condvar::new();
                other.notify_all();
                // A spurious wake-up for whoever waits: allowed, and it must not deadlock.
                condvar.notify_one();
            })
        };
        *foreign.talk.lock().expect("not poisoned") = Some(talk.clone());
        let done = Arc::new(AtomicBool::new(false));
        let (m, c, d) = (monitor.clone(), condvar.clone(), done.clone());
        stop.spawn("monitor", move || {
            let mut guard = m.lock()?;
            while !d.load(SeqCst) {
                guard = guard.wait(&c)?;
            }
            Ok::<(), unwedge::Stopped>(())
        })
        .expect("a thread");
        let (l, c, d, s) = (foreign.clone(), condvar.clone(), done.clone(), stop.clone());
        stop.spawn("foreign", move || {
            let mut guard = l.lock_until(Instant::now() + GUARD).expect("free soon");
            while !d.load(SeqCst) {
                guard = c.wait(&s, &*l, guard)?;
            }
            Ok::<(), unwedge::Stopped>(())
        })
        .expect("a thread");
        for _ in 0..100 {
            drop(monitor.lock().expect("not stopped"));
            condvar.notify_all();
        }
        done.store(true, SeqCst);
        until("both have ended", || {
            condvar.notify_all();
            stop.report().members().is_empty()
        });
        *foreign.talk.lock().expect("not poisoned") = None;
    });
}

/// A lock whose unlock panics when it is told to.
struct Brittle {
    lock: Mutex<()>,
    breaks: Arc<AtomicBool>,
}

struct BrittleGuard<'a> {
    of: &'a Brittle,
    guard: Option<std::sync::MutexGuard<'a, ()>>,
}

impl Drop for BrittleGuard<'_> {
    fn drop(&mut self) {
        self.guard = None;
        assert!(!self.of.breaks.swap(false, SeqCst), "on purpose");
    }
}

impl Lock for Brittle {
    type Guard<'a> = BrittleGuard<'a>;

    fn try_lock(&self) -> Option<BrittleGuard<'_>> {
        let guard = Lock::try_lock(&self.lock)?;
        Some(BrittleGuard { of: self, guard: Some(guard) })
    }
}

#[test]
fn law6_an_unlock_that_panics_wakes_the_next_one_all_the_same() {
    guarded(|| {
        let stop = Stop::new("l6");
        let breaks = Arc::new(AtomicBool::new(false));
        let brittle = Brittle { lock: Mutex::new(()), breaks: breaks.clone() };
        let monitor = Arc::new(Monitor::new("m", brittle, &stop));
        let held = monitor.lock().expect("free");
        let m = monitor.clone();
        let behind = stop.spawn("behind", move || m.lock().map(drop)).expect("a thread");
        until_waits(&stop, "behind", "lock m");
        breaks.store(true, SeqCst);
        let unlocked = catch_unwind(AssertUnwindSafe(|| drop(held)));
        assert!(unlocked.is_err());
        assert_eq!(behind.join().expect("no panic"), Ok(()));
        assert!(waits_of(&stop, "behind").is_empty());
    });
}
