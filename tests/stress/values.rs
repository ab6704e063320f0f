//! Completions that are completed, stopped, timed out, polled, cancelled and dropped at once: each value has one end.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use unwedge::{Abandoned, Completer, Completion, Plan, Stop, WaitError};

use crate::common::{GUARD, guarded};
use crate::{Random, TIME};

#[derive(Clone, Default)]
struct Tally(Arc<AtomicI64>);

struct Value(Tally);

impl Tally {
    fn value(&self) -> Value {
        self.0.fetch_add(1, SeqCst);
        Value(self.clone())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        assert!(self.0.0.fetch_sub(1, SeqCst) > 0, "dropped twice");
    }
}

/// One completion from the waiter's side. Whether it had its value.
fn wait(mut completion: Completion<Value>, stop: &Stop, random: &Random) -> bool {
    let had = |result: Result<Value, Abandoned>| result.is_ok();
    let mut context = Context::from_waker(Waker::noop());
    match random.below(6) {
        0 => completion.wait().is_ok_and(had),
        1 => loop {
            // Again and again, with a poll in between.
            match completion.wait_until(random.deadline()) {
                Ok(result) => return had(result),
                Err(WaitError::Stopped) => return false,
                Err(WaitError::TimedOut) => {}
            }
            if let Poll::Ready(result) = Pin::new(&mut completion).poll(&mut context) {
                return result.is_ok_and(had);
            }
        },
        2 => completion.cancel().is_some_and(had),
        3 => {
            for _ in 0..random.below(3) {
                if let Poll::Ready(result) = Pin::new(&mut completion).poll(&mut context) {
                    return result.is_ok_and(had);
                }
                random.pause();
            }
            false
        }
        4 => {
            let part = stop.child("part");
            let other = part.clone();
            if random.below(4) == 0 {
                let stopper = std::thread::spawn(move || other.request("race"));
                let had = completion.wait_in(&part).is_ok_and(had);
                stopper.join().expect("no panic");
                return had;
            }
            completion.wait_in(&part).is_ok_and(had)
        }
        _ => {
            completion.on_complete(stop, drop).expect("a thread");
            false
        }
    }
}

#[test]
fn each_has_one_end() {
    guarded(|| {
        let stop = Stop::new("stress");
        let tally = Tally::default();
        let (given, had) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let until = Instant::now() + TIME;
        let mut threads = Vec::new();
        for number in 0..3 {
            let (queue, owed) = mpsc::channel::<Completer<Value>>();
            let (t, g) = (tally.clone(), given.clone());
            threads.push(stop.spawn("completes", move || {
                let random = Random::new(number);
                for completer in owed {
                    random.pause();
                    match random.below(8) {
                        0 => drop(completer),
                        1 if !completer.is_wanted() => drop(completer),
                        _ => {
                            if completer.complete(t.value()).is_ok() {
                                g.fetch_add(1, SeqCst);
                            }
                        }
                    }
                }
            }));
            let (own, h) = (stop.clone(), had.clone());
            threads.push(stop.spawn("waits", move || {
                let random = Random::new(10 + number);
                while Instant::now() < until {
                    let (completer, completion) = Completion::new("value", &own);
                    queue.send(completer).expect("it is there");
                    h.fetch_add(wait(completion, &own, &random).into(), SeqCst);
                }
            }));
        }
        for thread in threads {
            thread.expect("a thread").join().expect("no panic");
        }
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        assert_eq!(tally.0.load(SeqCst), 0, "a value is left, or was dropped twice");
        let (given, had) = (given.load(SeqCst), had.load(SeqCst));
        assert!(had <= given, "{had} of {given}");
        assert!(had > 100, "too few rounds to mean anything: {had}");
    });
}
