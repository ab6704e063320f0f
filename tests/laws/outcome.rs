//! L5: complete, stop, time out, cancel and drop race, and one of them wins; a value that loses goes back or is dropped once.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use unwedge::{Abandoned, Completion, Monitor, Plan, Stop, WaitError};

use crate::common::{GUARD, guarded};
use crate::seen::{until, waits_of};
use crate::{on_each_runtime, poll_once};

/// How many values there are.
#[derive(Clone, Default)]
struct Tally(Arc<AtomicUsize>);

/// A value that counts itself.
struct Counted(Tally);

impl Tally {
    fn value(&self) -> Counted {
        self.0.fetch_add(1, SeqCst);
        Counted(self.clone())
    }

    fn alive(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.0.0.fetch_sub(1, SeqCst);
        assert_ne!(before, 0, "dropped twice");
    }
}

const ROUNDS: usize = 1500;

/// How a round ended for who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Value,
    Stopped,
    TimedOut,
}

#[test]
fn law5_completion_stop_and_timeout_race_for_a_thread() {
    guarded(|| {
        let tally = Tally::default();
        let mut seen = [0; 3];
        for round in 0..ROUNDS {
            let stop = Stop::new("l5");
            let (completer, mut completion) = Completion::<Counted>::new("value", &stop);
            let value = tally.value();
            let start = Barrier::new(3);
            let (end, back) = thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    start.wait();
                    let deadline = Instant::now() + Duration::from_micros(10 * (round % 8) as u64);
                    match completion.wait_until(deadline) {
                        Ok(value) => value.map(|_| End::Value).unwrap_or_else(|Abandoned| panic!("it was completed")),
                        Err(WaitError::Stopped) => End::Stopped,
                        Err(WaitError::TimedOut) => End::TimedOut,
                    }
                });
                let completing = scope.spawn(|| {
                    start.wait();
                    completer.complete(value)
                });
                start.wait();
                if round % 3 == 0 {
                    stop.request("race");
                }
                (waiter.join().expect("no panic"), completing.join().expect("no panic"))
            });
            assert!(back.is_ok(), "the completion was there all the time");
            // The value was given out or is still in the completion, and goes with it.
            assert_eq!(tally.alive(), usize::from(end != End::Value), "{end:?}");
            assert_eq!(completion.cancel().is_some_and(|value| value.is_ok()), end != End::Value, "{end:?}");
            assert_eq!(tally.alive(), 0);
            seen[end as usize] += 1;
        }
        assert_eq!(seen.iter().sum::<usize>(), ROUNDS);
        assert_ne!(seen[End::Value as usize], 0);
    });
}

#[test]
fn law5_completion_and_drop_race() {
    guarded(|| {
        let tally = Tally::default();
        let stop = Stop::new("l5");
        for round in 0..ROUNDS {
            let (completer, mut completion) = Completion::<Counted>::new("value", &stop);
            if round % 2 == 0 {
                // A task that was waiting already.
                assert!(poll_once(&mut completion).is_pending());
            }
            let value = tally.value();
            let start = Barrier::new(2);
            let (had, back) = thread::scope(|scope| {
                let dropping = scope.spawn(|| {
                    start.wait();
                    if round % 3 == 0 {
                        drop(completion);
                        None
                    } else {
                        completion.cancel()
                    }
                });
                start.wait();
                let back = completer.complete(value);
                (dropping.join().expect("no panic"), back)
            });
            assert!(had.is_none() || back.is_ok(), "one of them at most has it");
            assert_eq!(tally.alive(), usize::from(had.is_some()) + usize::from(back.is_err()));
            drop((had, back));
            assert_eq!(tally.alive(), 0);
        }
    });
}

#[test]
fn law5_completion_stop_and_drop_race_for_a_task() {
    on_each_runtime(|| async {
        let tally = Tally::default();
        for round in 0..300 {
            let stop = Stop::new("l5");
            let (completer, completion) = Completion::<Counted>::new("value", &stop);
            let task = tokio::spawn(async move {
                if round % 4 == 0 {
                    tokio::select! { biased; _ = tokio::task::yield_now() => None, result = completion => Some(result.is_ok()) }
                } else {
                    Some(completion.await.is_ok())
                }
            });
            let value = tally.value();
            let completing = tokio::task::spawn_blocking(move || completer.complete(value).is_ok());
            if round % 3 == 0 {
                tokio::task::yield_now().await;
                stop.request("race");
            }
            let wanted = completing.await.expect("no panic");
            let got = task.await.expect("no panic");
            assert!(got != Some(true) || wanted, "it has a value that was given back");
            assert_eq!(tally.alive(), 0);
        }
    });
}

#[test]
fn law5_a_value_that_nobody_wants_goes_back() {
    let stop = Stop::new("l5");
    let tally = Tally::default();
    let (completer, completion) = Completion::<Counted>::new("value", &stop);
    assert!(completer.is_wanted());
    drop(completion);
    assert!(!completer.is_wanted());
    let back = completer.complete(tally.value());
    assert_eq!(tally.alive(), 1);
    drop(back);

    let (completer, completion) = Completion::<u8, Failed>::new("value", &stop);
    assert!(completion.cancel().is_none(), "nothing was there");
    assert_eq!(completer.fail(Failed(5)), Err(Failed(5)));

    let (completer, mut completion) = Completion::<u8, Failed>::new("value", &stop);
    completer.fail(Failed(6)).expect("wanted");
    assert_eq!(completion.wait(), Ok(Err(Failed(6))));
    assert_eq!(completion.wait(), Ok(Err(Failed(0))), "a value is given out once; then it is abandoned");

    let (completer, mut completion) = Completion::<u8, Failed>::new("value", &stop);
    drop(completer);
    assert!(completion.is_complete());
    assert_eq!(completion.wait(), Ok(Err(Failed(0))));
}

#[derive(Debug, PartialEq, Eq)]
struct Failed(u8);

impl From<Abandoned> for Failed {
    fn from(Abandoned: Abandoned) -> Self {
        Failed(0)
    }
}

#[test]
fn law5_who_polled_may_block_instead_and_poll_again() {
    guarded(|| {
        let stop = Stop::new("l5");
        let (completer, mut completion) = Completion::<u32>::new("value", &stop);
        assert!(poll_once(&mut completion).is_pending());
        assert_eq!(completion.wait_until(Instant::now()), Err(WaitError::TimedOut));
        assert!(poll_once(&mut completion).is_pending());
        completer.complete(7).expect("wanted");
        assert_eq!(poll_once(&mut completion), Poll::Ready(Ok(Ok(7))));

        let (completer, mut completion) = Completion::<u32>::new("value", &stop);
        assert!(poll_once(&mut completion).is_pending());
        let waiter = stop.spawn("waiter", move || completion.wait()).expect("a thread");
        until("it waits", || waits_of(&stop, "waiter").iter().any(|wait| wait.what == "value"));
        completer.complete(8).expect("wanted");
        assert_eq!(waiter.join().expect("no panic"), Ok(Ok(8)));
    });
}

#[test]
fn law5_a_callback_runs_once_with_the_one_outcome() {
    guarded(|| {
        let tally = Tally::default();
        for round in 0..200 {
            let stop = Stop::new("l5");
            let (completer, completion) = Completion::<Counted>::new("value", &stop);
            let outcomes = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
            let count = outcomes.clone();
            completion
                .on_complete(&stop, move |result| {
                    count[usize::from(result.is_ok())].fetch_add(1, SeqCst);
                })
                .expect("a thread");
            let start = Barrier::new(2);
            let value = tally.value();
            let given = thread::scope(|scope| {
                let completing = scope.spawn(|| {
                    start.wait();
                    completer.complete(value).is_ok()
                });
                start.wait();
                if round % 2 == 0 {
                    stop.request("race");
                }
                completing.join().expect("no panic")
            });
            let report = stop.shutdown(Plan::within(GUARD));
            assert!(report.is_clean(), "{report}");
            let [stopped, completed] = [outcomes[0].load(SeqCst), outcomes[1].load(SeqCst)];
            assert_eq!(stopped + completed, 1, "it ran once");
            assert!(given || stopped == 1);
            assert_eq!(tally.alive(), 0);
        }
    });
}

#[test]
fn law5_wait_for_leaves_the_value_where_it_is_when_it_is_stopped() {
    guarded(|| {
        let stop = Stop::new("l5");
        let part = stop.child("part");
        let monitor = Arc::new(Monitor::new("m", std::sync::Mutex::new(0_u32), &stop));
        let (completer, mut completion) = Completion::<u32>::new("value", &stop);
        let (m, own) = (monitor.clone(), part.clone());
        let waiter = stop.spawn("waiter", move || {
            let stopped = m.lock_in(&own).expect("free").wait_for(&mut completion).is_err();
            (stopped, completion)
        });
        until("it waits", || waits_of(&stop, "waiter").iter().any(|wait| wait.what == "value"));
        // It has its value, and is stopped while it waits for the lock.
        let held = monitor.lock().expect("free");
        completer.complete(9).expect("wanted");
        until("it wants the lock", || waits_of(&stop, "waiter").iter().any(|wait| wait.what == "lock m"));
        part.request("test");
        let (stopped, mut completion) = waiter.expect("a thread").join().expect("no panic");
        assert!(stopped);
        assert_eq!(completion.wait(), Ok(Ok(9)));
        drop(held);
    });
}
