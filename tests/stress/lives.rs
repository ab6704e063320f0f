//! Lives that are stopped at a random moment while others read reports and threads come and go: every stop is clean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use unwedge::{Completion, Condvar, Monitor, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::{Random, TIME};

struct Life {
    stop: Stop,
    monitor: Monitor<parking_lot::RwLock<u64>>,
    condvar: Condvar,
}

/// What a thread of the daemon does until it is stopped.
fn work(life: &Life, own: &Stop, random: &Random) -> Result<(), unwedge::Stopped> {
    loop {
        match random.below(8) {
            0 => drop(life.monitor.lock_in(own)?.wait(&life.condvar)?),
            1 => drop(life.monitor.lock_in(own)?.wait_until(&life.condvar, random.deadline())?),
            2 => *life.monitor.lock_in(own)? += 1,
            3 => drop(life.monitor.read_in(own)?),
            4 => {
                let (completer, mut completion) = Completion::<u64>::new("value", own);
                let number = random.below(3);
                if number > 0 {
                    thread::spawn(move || completer.complete(number));
                } // otherwise it is dropped: abandoned
                let (guard, _) = life.monitor.lock_in(own)?.wait_for(&mut completion)?;
                drop(guard);
            }
            5 => _ = life.condvar.notify_all(),
            6 => {
                if own.wait_timeout(Duration::from_micros(random.below(200))) {
                    return Err(unwedge::Stopped);
                }
            }
            _ => {
                let (_completer, mut completion) = Completion::<u64>::new("never", own);
                let result = if random.below(4) == 0 {
                    completion.wait()?.is_ok()
                } else {
                    completion.wait_until(random.deadline()).is_ok()
                };
                assert!(!result, "nobody completes it");
            }
        }
    }
}

fn live(seed: u64) {
    let random = Random::new(seed);
    let stop = Stop::new("life");
    let life = Arc::new(Life {
        stop: stop.clone(),
        monitor: Monitor::new("m", parking_lot::RwLock::new(0), &stop),
        condvar: Condvar::new(),
    });
    for number in 0..1 + random.below(6) {
        let own = if random.below(2) == 0 { stop.clone() } else { stop.child("part") };
        let life = life.clone();
        let domain = own.clone();
        drop(domain.spawn("worker", move || {
            let random = Random::new(seed * 31 + number);
            if random.below(6) == 0 {
                // One that stops its part, or all.
                own.wait_timeout(Duration::from_micros(random.below(300)));
                if random.below(2) == 0 {
                    own.request("a part")
                } else {
                    life.stop.request("all")
                };
                return;
            }
            assert!(work(&life, &own, &random).is_err());
        }));
    }
    let (_never, completion) = Completion::<u64>::new("never", &stop);
    if random.below(2) == 0 {
        completion.on_complete(&stop, |result| assert!(result.is_err())).expect("a thread");
    }
    stop.wait_timeout(Duration::from_micros(random.below(400)));
    let plan = Plan::within(GUARD);
    let plan = if random.below(3) == 0 { plan.phase("save", GUARD, |_| Ok(())) } else { plan };
    let report = match random.below(3) {
        0 => stop.shutdown(plan),
        1 => {
            let other = stop.clone();
            let second = thread::spawn(move || other.shutdown(Plan::within(GUARD)));
            let report = stop.shutdown(plan);
            assert!(second.join().expect("no panic").members().is_empty());
            report
        }
        _ => match life.monitor.lock() {
            Ok(held) => stop.shutdown_holding(held, plan),
            Err(unwedge::Stopped) => stop.shutdown(plan),
        },
    };
    assert!(report.members().is_empty(), "{report}");
    assert!(report.panicked().is_empty(), "{report}");
    assert!(life.monitor.lock_in(&Stop::new("next")).is_ok());
}

#[test]
fn every_stop_is_clean_while_threads_end_and_reports_are_read() {
    guarded(|| {
        let over = Arc::new(AtomicBool::new(false));
        let lives = Arc::new(AtomicUsize::new(0));
        let witness = Stop::new("witness");
        let shared = Arc::new(Monitor::new("shared", std::sync::Mutex::new(0_u64), &witness));
        // Reads reports of a domain whose members wait, end and are other ones each time.
        let (o, w) = (over.clone(), witness.clone());
        let reader = thread::spawn(move || {
            let mut seen = 0;
            while !o.load(SeqCst) {
                let report = w.report();
                for member in report.members() {
                    assert!(matches!(&*member.name, "guest" | "maker"), "{report}");
                    seen += member.waits.len();
                }
            }
            seen
        });
        // Threads that no domain has started come and go: each has a slot for as long as it lives.
        let (o, w, m) = (over.clone(), witness.clone(), shared.clone());
        let maker = thread::spawn(move || {
            while !o.load(SeqCst) {
                let held = m.lock().expect("not stopped");
                let own = m.clone();
                drop(w.spawn("guest", move || drop(own.lock())).expect("a thread"));
                let own = m.clone();
                let guest = thread::spawn(move || *own.lock().expect("not stopped") += 1);
                thread::yield_now();
                drop(held);
                guest.join().expect("no panic");
            }
        });
        let begun = Instant::now();
        thread::scope(|scope| {
            for number in 0..2 {
                let lives = &lives;
                scope.spawn(move || {
                    while begun.elapsed() < 2 * TIME {
                        live(number * 1_000_000 + lives.fetch_add(1, SeqCst) as u64);
                    }
                });
            }
        });
        over.store(true, SeqCst);
        maker.join().expect("no panic");
        assert!(reader.join().expect("no panic") > 0, "nobody was seen to wait");
        assert!(witness.shutdown(Plan::within(GUARD)).is_clean());
        let lives = lives.load(SeqCst);
        assert!(lives > 20, "too few lives to mean anything: {lives}");
    });
}

#[test]
fn more_waits_at_once_than_fit_in_the_first_slots() {
    guarded(|| {
        let stop = Stop::new("many");
        let monitor = Monitor::new("m", std::sync::Mutex::new(()), &stop);
        let condvar = Condvar::new();
        let mut waits: Vec<_> = (0..900).map(|_| monitor.lock().expect("not stopped").wait_async(&condvar)).collect();
        // Every third is dropped, then half are notified, then all are stopped: the slots go round.
        let mut number = 0;
        waits.retain(|_| {
            number += 1;
            number % 3 != 0
        });
        for _ in 0..waits.len() / 2 {
            assert!(condvar.notify_one());
        }
        let more: Vec<_> = (0..600).map(|_| monitor.lock().expect("not stopped").wait_async(&condvar)).collect();
        assert_eq!(condvar.notify_all(), waits.len() - waits.len() / 2 + more.len());
        stop.request("test");
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for mut wait in waits.into_iter().chain(more) {
            let polled = std::future::Future::poll(std::pin::Pin::new(&mut wait), &mut context);
            assert!(matches!(polled, std::task::Poll::Ready(Err(_))));
        }
        assert!(!condvar.notify_one());
    });
}
