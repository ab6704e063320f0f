//! Threads and tasks take a monitor's lock in every way there is, and give up in every way: it has one owner, and everybody comes to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Waker};
use std::time::Instant;

use unwedge::lock::{LockData, SharedLock};
use unwedge::{Monitor, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::{Random, TIME};

/// Equal whenever nobody writes.
#[derive(Default)]
struct Twins(u64, u64);

impl Twins {
    fn write(&mut self, random: &Random) {
        assert_eq!(self.0, self.1, "two owners");
        self.0 += 1;
        random.pause();
        self.1 += 1;
    }

    fn read(&self, random: &Random) {
        let first = self.0;
        random.pause();
        assert_eq!((first, first), (self.0, self.1), "a writer beside a reader");
    }
}

type Shared<L> = Arc<Monitor<L>>;

/// One step of a thread. How many times it wrote.
fn step<L>(monitor: &Monitor<L>, stop: &Stop, random: &Random) -> u64
where
    L: SharedLock + LockData<Data = Twins>,
    for<'a> L::Guard<'a>: std::ops::DerefMut<Target = Twins>,
    for<'a> L::SharedGuard<'a>: std::ops::Deref<Target = Twins>,
{
    let mut context = Context::from_waker(Waker::noop());
    match random.below(9) {
        0 | 1 => monitor.lock().map(|mut twins| twins.write(random)).is_ok().into(),
        2 => monitor.lock_until(random.deadline()).map(|mut twins| twins.write(random)).is_ok().into(),
        3 => {
            monitor.read().expect("not stopped").read(random);
            0
        }
        4 => {
            if let Ok(twins) = monitor.read_until(random.deadline()) {
                twins.read(random);
            }
            0
        }
        5 => {
            // A future that is dropped wherever it has come to.
            let mut lock = monitor.lock_async();
            for _ in 0..random.below(3) {
                if Pin::new(&mut lock).poll(&mut context).is_ready() {
                    break;
                }
                random.pause();
            }
            0
        }
        6 => {
            let part = stop.child("part");
            let mut lock = monitor.lock_async_in(&part);
            let waits = Pin::new(&mut lock).poll(&mut context).is_pending();
            part.request("give up");
            assert!(!waits || Pin::new(&mut lock).poll(&mut context).is_ready());
            0
        }
        7 => monitor
            .when(|twins| {
                twins.write(random);
                Some(())
            })
            .is_ok()
            .into(),
        _ => monitor.try_lock().expect("not stopped").map(|mut twins| twins.write(random)).is_some().into(),
    }
}

fn run<L>(lock: L, seed: u64)
where
    L: SharedLock + LockData<Data = Twins> + Send + Sync + 'static,
    for<'a> L::Guard<'a>: std::ops::DerefMut<Target = Twins>,
    for<'a> L::SharedGuard<'a>: std::ops::Deref<Target = Twins>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let _in_runtime = runtime.enter();
    let stop = Stop::new("stress");
    let monitor: Shared<L> = Arc::new(Monitor::new("twins", lock, &stop));
    let written = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + TIME;
    let mut tasks = Vec::new();
    for number in 0..3 {
        let (m, w) = (monitor.clone(), written.clone());
        tasks.push(stop.spawn_task("task", async move {
            let random = std::sync::Mutex::new(Random::new(seed + 50 + number));
            while Instant::now() < until {
                m.when_async(|twins| {
                    twins.write(&random.lock().expect("not poisoned"));
                    Some(())
                })
                .await?;
                w.fetch_add(1, SeqCst);
                if random.lock().expect("not poisoned").below(3) == 0 {
                    // Given up after its first poll.
                    tokio::select! { biased; _ = m.lock_async() => {} () = std::future::ready(()) => {} }
                }
                m.read_async().await?.read(&Random::new(number + 1));
                tokio::task::yield_now().await;
            }
            Ok::<(), unwedge::Stopped>(())
        }));
    }
    let mut threads = Vec::new();
    for number in 0..4 {
        let (m, w, own) = (monitor.clone(), written.clone(), stop.clone());
        threads.push(stop.spawn("thread", move || {
            let random = Random::new(seed + number);
            let mut steps = 0_u64;
            while Instant::now() < until {
                w.fetch_add(step(&m, &own, &random), SeqCst);
                steps += 1;
            }
            steps
        }));
    }
    // A lost turn leaves somebody in the line for good: the joins below would hang.
    for thread in threads {
        let steps = thread.expect("a thread").join().expect("no panic");
        assert!(steps > 10, "starved: {steps} steps");
    }
    for task in tasks {
        task.join().expect("no panic").expect("not stopped");
    }
    let twins = monitor.read().map(|twins| (twins.0, twins.1)).expect("not stopped");
    assert_eq!(twins, (written.load(SeqCst), written.load(SeqCst)));
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
    assert!(report.panicked().is_empty(), "{report}");
}

#[test]
fn one_owner_and_nobody_left_over_std() {
    guarded(|| run(std::sync::RwLock::new(Twins::default()), 1));
}

#[test]
fn one_owner_and_nobody_left_over_parking_lot() {
    guarded(|| run(parking_lot::RwLock::new(Twins::default()), 2));
}

#[test]
fn one_owner_and_nobody_left_over_tokio() {
    guarded(|| run(tokio::sync::RwLock::new(Twins::default()), 3));
}

#[test]
fn a_free_lock_is_open_again_when_those_for_whom_it_was_closed_are_stopped() {
    guarded(|| {
        let stop = Stop::new("stress");
        let monitor = Arc::new(Monitor::new("m", std::sync::Mutex::new(0_u64), &stop));
        let random = Random::new(7);
        let until = Instant::now() + TIME;
        let mut rounds = 0;
        while Instant::now() < until {
            let part = stop.child("part");
            let mut held = monitor.lock().expect("not stopped");
            let mut threads = Vec::new();
            for _ in 0..3 {
                let (m, own) = (monitor.clone(), part.clone());
                threads.push(stop.spawn("waits", move || while m.lock_in(&own).is_ok() {}).expect("a thread"));
            }
            // Overtakes them, so that the line is closed now and then.
            for _ in 0..random.below(40) {
                drop(held);
                random.pause();
                held = monitor.lock().expect("not stopped");
                (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
            }
            if random.below(2) == 0 {
                drop(held);
                part.request("test");
            } else {
                part.request("test");
                drop(held);
            }
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert!(matches!(monitor.try_lock(), Ok(Some(_))), "free, and nobody waits, in round {rounds}");
            rounds += 1;
        }
        assert!(rounds > 10, "too few rounds to mean anything: {rounds}");
    });
}

/// A lock for which nobody has queued for a thousand unlocks is let go without a barrier, and for good, while a task queues: over a lock whose unlock is a plain store,
/// which comes late where nothing brings it out. The task is woken, or finds the lock free.
#[test]
fn the_last_unlock_of_a_quiet_lock_wakes_who_queues_meanwhile() {
    guarded(|| {
        let stop = Stop::new("stress");
        let monitor = Arc::new(Monitor::new("quiet", spin::lock_api::Mutex::new(0_u64), &stop));
        let (held, had) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let over = Arc::new(AtomicU64::new(u64::MAX));
        let (m, seen, tell, end) = (monitor.clone(), held.clone(), had.clone(), over.clone());
        let other = stop.spawn("queues", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let random = Random::new(8);
            let (mut round, mut looks) = (1, 0);
            while round <= end.load(SeqCst) {
                if seen.load(SeqCst) < round {
                    look_again(&mut looks);
                    continue;
                }
                (0..random.below(60)).for_each(|_| std::hint::spin_loop());
                // A future's first poll does not look for long before it queues.
                *runtime.block_on(m.lock_async()).expect("not stopped") += 1;
                tell.store(round, SeqCst);
                round += 1;
            }
        });
        let random = Random::new(9);
        let until = Instant::now() + TIME;
        let (mut rounds, mut looks) = (0, 0);
        while Instant::now() < until {
            rounds += 1;
            for _ in 0..1100 {
                drop(monitor.lock().expect("not stopped"));
            }
            let guard = monitor.lock().expect("not stopped");
            held.store(rounds, SeqCst);
            (0..random.below(60)).for_each(|_| std::hint::spin_loop());
            drop(guard);
            // Nobody else unlocks it: who missed this unlock sleeps for good.
            while had.load(SeqCst) < rounds {
                look_again(&mut looks);
            }
        }
        over.store(rounds, SeqCst);
        other.expect("a thread").join().expect("no panic");
        assert_eq!(monitor.lock().map(|had| *had), Ok(rounds));
        assert!(rounds > 10, "too few rounds to mean anything: {rounds}");
    });
}

/// Before another look: where there is one processor, the other needs it.
fn look_again(looks: &mut u32) {
    *looks += 1;
    if *looks % 1000 == 0 {
        std::thread::yield_now();
    }
    std::hint::spin_loop();
}
