//! L5, one outcome: complete, stop, time out, cancel and drop race; one wins, and the value is given out once or dropped once.
//!
//! A failure shows as a count of values that is not 0 at the end, a value that two have, or a deadlock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use loom::sync::atomic::AtomicU32;
use unwedge::model::{block_on, thread};
use unwedge::{Abandoned, Completion, Stop, Stopped, WaitError};

use crate::common::{Failure, explore, explore_as, fails};
use crate::world::{World, later, plan, time_passes};

/// A value that counts how many there are.
struct Value(Arc<AtomicUsize>);

impl Value {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Value(count.clone())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A completer, a waiter and what else may happen; nothing is left at the end.
fn one_outcome(name: &str, bound: Option<usize>, race: fn(&Stop, Completion<Value>) -> Result<Value, WaitError>) {
    explore_as(name, "L5", bound, move || {
        let count = Arc::new(AtomicUsize::new(0));
        let stop = Stop::new("life");
        let (completer, completion) = Completion::new("read", &stop);
        let value = Value::new(&count);
        let storage = thread::spawn(move || completer.complete(value).err());
        let had = race(&stop, completion);
        let back = storage.join().unwrap();
        assert!(had.is_err() || back.is_none(), "the value was given out and back");
        drop((had, back));
        assert_eq!(count.load(Ordering::Relaxed), 0, "dropped once");
    });
}

fn stopper(stop: &Stop) -> thread::JoinHandle<bool> {
    let stop = stop.clone();
    thread::spawn(move || stop.request("SIGTERM"))
}

#[test]
fn law5_one_outcome_of_a_completion() {
    one_outcome("complete_or_nothing", None, |_, mut completion| {
        let value = completion.wait()?;
        assert!(matches!(completion.wait(), Ok(Err(Abandoned))), "given out once");
        Ok(value.unwrap())
    });
    one_outcome("complete_or_stop", Some(3), |stop, mut completion| {
        let stopper = stopper(stop);
        let outcome = completion.wait();
        stopper.join().unwrap();
        Ok(outcome?.unwrap())
    });
    one_outcome("complete_or_time_out", Some(3), |_, mut completion| {
        let until = later();
        let clock = thread::spawn(time_passes);
        let outcome = completion.wait_until(until);
        clock.join().unwrap();
        Ok(outcome?.unwrap())
    });
    one_outcome("complete_or_cancel", None, |_, completion| match completion.cancel() {
        Some(value) => Ok(value.unwrap()),
        None => Err(WaitError::TimedOut),
    });
    one_outcome("complete_or_drop", None, |_, completion| {
        drop(completion);
        Err(WaitError::TimedOut)
    });
}

/// A completer that is told that its value is taken has given it to who cancels, and who is given nothing has had it sent back. (A cancel that looks first and
/// closes then drops it between the two.)
#[test]
fn law5_a_cancelled_value_is_somebody_s() {
    explore("L5", None, || {
        let stop = Stop::new("life");
        let (completer, completion) = Completion::<u8>::new("read", &stop);
        let storage = thread::spawn(move || completer.complete(7).is_err());
        let had = completion.cancel().is_some();
        let back = storage.join().unwrap();
        assert!(had != back, "given out: {had}, sent back: {back}");
    });
}

#[test]
fn law5_one_outcome_of_a_task_s_completion() {
    one_outcome("complete_or_stop_of_a_task", Some(3), |stop, completion| {
        let stopper = stopper(stop);
        let outcome = block_on(completion);
        stopper.join().unwrap();
        Ok(outcome?.unwrap())
    });
    one_outcome("complete_or_drop_of_a_polled_task", None, |_, mut completion| {
        match Pin::new(&mut completion).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Ok(value?.unwrap()),
            Poll::Pending => {
                drop(completion);
                Err(WaitError::TimedOut)
            }
        }
    });
    one_outcome("poll_then_wait_then_poll", Some(3), |_, mut completion| {
        let polled = Pin::new(&mut completion).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(value) = polled {
            return Ok(value?.unwrap());
        }
        match completion.wait_until(unwedge::model::now()) {
            Ok(value) => Ok(value.unwrap()),
            // The task's wait was ended by the thread's; the next poll begins anew.
            Err(_) => Ok(block_on(completion)?.unwrap()),
        }
    });
}

/// A completion's word, and the two words by which it names who waits, in small. (In the library's own loom does not see the two.)
struct Named {
    word: AtomicU32,
    waiter: AtomicU32,
    began: AtomicU32,
}

const EMPTY: u32 = 0;
const WAITED: u32 = 1;
const READY: u32 = 2;
const VERSION: u32 = 4;

impl Named {
    /// Waiter 1 is named.
    fn new() -> Arc<Named> {
        let at = |word| AtomicU32::new(word);
        Arc::new(Named { word: at(VERSION | WAITED), waiter: at(1), began: at(1) })
    }

    fn step(&self, from: u32, to: u32) -> bool {
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Names waiter 2 in its place. Whether it is named, and not too late.
    fn name_another(&self, over_empty: bool) -> bool {
        let before = if over_empty { VERSION | EMPTY } else { VERSION | WAITED };
        if over_empty && !self.step(VERSION | WAITED, before) {
            return false;
        }
        self.waiter.store(2, Ordering::Release);
        self.began.store(2, Ordering::Relaxed);
        self.step(before, (2 * VERSION) | WAITED)
    }

    /// Who is to be notified of the value that comes.
    fn complete(&self) -> Option<(u32, u32)> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            let named = (self.waiter.load(Ordering::Acquire), self.began.load(Ordering::Relaxed));
            if self.step(word, word & !3 | READY) {
                return (word & 3 == WAITED).then_some(named);
            }
        }
    }

    fn race(over_empty: bool) {
        let named = Named::new();
        let completer = {
            let named = named.clone();
            thread::spawn(move || named.complete())
        };
        let is_named = named.name_another(over_empty);
        let told = completer.join().unwrap();
        assert!(told.is_none_or(|(waiter, began)| waiter == began), "a name made of two");
        assert!(!is_named || told == Some((2, 2)), "who waits is told");
    }
}

/// Who waits again for the same result is named anew, while the completer may be reading the old name: by way of `EMPTY`, in which nobody is named.
#[test]
fn law5_another_waiter_is_named() {
    explore("L5", None, || Named::race(true));
}

/// Without it the completer may read one word of each name, and then finds its own word unchanged. Slots count their waits, each for itself: so it could end a
/// wait of somebody else's.
#[test]
fn twin_another_waiter_named_in_place() {
    fails(Failure::Panic("a name made of two"), None, || Named::race(false));
}

/// A wait that begins after the request is stopped though the value is there; the value stays, and a phase can have it.
#[test]
fn law5_request_comes_before_a_ready_value() {
    explore("L5", Some(3), || {
        let count = Arc::new(AtomicUsize::new(0));
        let stop = Stop::new("life");
        let (completer, mut completion) = Completion::<Value>::new("read", &stop);
        let value = Value::new(&count);
        let storage = thread::spawn(move || completer.complete(value).is_ok());
        stop.request("SIGTERM");
        assert!(matches!(completion.wait(), Err(Stopped)));
        assert!(matches!(Completion::<u8>::ready(Ok(1), &stop).wait(), Err(Stopped)));
        let phase = Stop::new("phase");
        drop(completion.wait_in(&phase).unwrap().unwrap());
        assert!(storage.join().unwrap());
        assert_eq!(count.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn law5_abandoned_or_stopped() {
    explore("L5", Some(3), || {
        let stop = Stop::new("life");
        let (completer, mut completion) = Completion::<u32>::new("read", &stop);
        let storage = thread::spawn(move || drop(completer));
        let stopper = stopper(&stop);
        match completion.wait() {
            Ok(result) => assert_eq!(result, Err(Abandoned)),
            Err(Stopped) => assert!(stop.is_requested()),
        }
        storage.join().unwrap();
        stopper.join().unwrap();
    });
}

/// `on_complete`: the callback runs once, with the value or with the stop, on the domain's callback thread.
#[test]
fn law5_callback_runs_once() {
    explore_as("callback_or_stop", "L5, L6", Some(2), || {
        let (count, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = Stop::new("life");
        let (completer, completion) = Completion::new("read", &stop);
        let seen = runs.clone();
        let callback = move |result: Result<Result<Value, Abandoned>, Stopped>| {
            seen.fetch_add(1, Ordering::Relaxed);
            drop(result);
        };
        completion.on_complete(&stop, callback).unwrap();
        let value = Value::new(&count);
        let storage = thread::spawn(move || drop(completer.complete(value)));
        assert!(stop.shutdown(plan()).is_clean());
        storage.join().unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 1, "once");
        assert_eq!(count.load(Ordering::Relaxed), 0, "dropped once");
    });
    explore_as("callback_beside_a_shutdown", "L5", Some(2), || {
        let runs = Arc::new(AtomicUsize::new(0));
        let stop = Stop::new("life");
        let started = |stop: &Stop| {
            let (completer, completion) = Completion::<u32>::new("read", stop);
            let seen = runs.clone();
            completion.on_complete(stop, move |_| assert!(seen.fetch_add(1, Ordering::Relaxed) < 2)).unwrap();
            completer
        };
        // The callback thread runs already when the next callback comes beside the shutdown that ends it.
        let first = started(&stop);
        let second = {
            let (stop, runs) = (stop.clone(), runs.clone());
            thread::spawn(move || {
                let (completer, completion) = Completion::<u32>::new("read", &stop);
                completion.on_complete(&stop, move |_| assert!(runs.fetch_add(1, Ordering::Relaxed) < 2)).unwrap();
                completer
            })
        };
        assert!(stop.shutdown(plan()).is_clean());
        let second = second.join().unwrap();
        assert!(stop.shutdown(plan()).is_clean());
        assert_eq!(runs.load(Ordering::Relaxed), 2, "each once");
        drop((first, second));
    });
}

/// `when`: once the closure has given a value the result is that value, whatever comes.
#[test]
fn law5_when_or_stop() {
    explore("L5", Some(2), || {
        let world = World::new();
        let waiter = world.thread(|world| world.lock.when(|value| (*value == 1).then(|| *value = 2)));
        let setter = world.thread(|world| world.lock.lock().map(|mut value| *value = 1));
        world.stop.request("SIGTERM");
        let taken = waiter.join().unwrap().is_ok();
        let set = setter.join().unwrap().is_ok();
        assert!(set || !taken);
        let value = *world.lock.lock_in(&Stop::new("phase")).unwrap();
        assert_eq!(value == 2, taken, "the closure changed the data if and only if the caller knows");
    });
}

/// Two flags and not one word: a stop and a completion both win.
#[test]
fn twin_two_flags() {
    use loom::sync::atomic::{AtomicBool, Ordering};
    fails(Failure::Panic("both won"), Some(2), || {
        let flags = loom::sync::Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
        let completer = {
            let flags = flags.clone();
            thread::spawn(move || {
                let wins = !flags.1.load(Ordering::Acquire);
                if wins {
                    flags.0.store(true, Ordering::Release);
                }
                wins
            })
        };
        let stop_wins = !flags.0.load(Ordering::Acquire);
        if stop_wins {
            flags.1.store(true, Ordering::Release);
        }
        assert!(!(completer.join().unwrap() && stop_wins), "both won");
    });
}

/// A callback counted after its thread was seen to run: the thread finds nothing left and ends in between.
#[test]
fn twin_callback_counted_late() {
    use loom::sync::Mutex;
    struct State {
        jobs: usize,
        running: bool,
    }
    fails(Failure::Panic("the callback was forgotten"), Some(2), || {
        let state = loom::sync::Arc::new(Mutex::new(State { jobs: 0, running: true }));
        let server = {
            let state = state.clone();
            thread::spawn(move || {
                let mut state = state.lock().unwrap();
                state.running = state.jobs != 0;
            })
        };
        let is_running = state.lock().unwrap().running;
        if is_running {
            state.lock().unwrap().jobs += 1;
        }
        server.join().unwrap();
        let state = state.lock().unwrap();
        assert!(state.jobs == 0 || state.running, "the callback was forgotten");
    });
}
