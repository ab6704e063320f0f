//! A completion and its completer: who wins, what is given to whom, who is woken, and that each value is dropped once.
//!
//! The model: a value that is there or not, a wait that has begun or not, and which of completion and stop ended it first (L5).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use unwedge::{Abandoned, Completer, Completion, Stop, WaitError};

use crate::common::guarded;
use crate::config;
use crate::flag::Flag;

/// A value, of which it can be seen whether it was dropped.
#[derive(Debug)]
struct Value(u8, #[expect(dead_code, reason = "it is counted")] Arc<()>);

/// An error that says how the wait came to nothing.
#[derive(Debug, PartialEq)]
enum Fault {
    Said(u8),
    Abandoned,
}

impl From<Abandoned> for Fault {
    fn from(_: Abandoned) -> Fault {
        Fault::Abandoned
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Polled with the one waker or the other.
    Poll(bool),
    Complete(u8),
    Fail(u8),
    /// The completer is dropped.
    Abandon,
    Cancel,
    /// The completion is dropped.
    Forget,
    /// Waited for with a deadline that has passed, in its own domain.
    Wait,
    /// The same in another domain: a phase.
    WaitInPhase,
    Request,
    RequestPhase,
    IsComplete,
    IsWanted,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => any::<bool>().prop_map(Op::Poll),
        2 => any::<u8>().prop_map(Op::Complete),
        1 => any::<u8>().prop_map(Op::Fail),
        1 => Just(Op::Abandon),
        1 => Just(Op::Cancel),
        1 => Just(Op::Forget),
        2 => Just(Op::Wait),
        2 => Just(Op::WaitInPhase),
        1 => Just(Op::Request),
        1 => Just(Op::RequestPhase),
        1 => Just(Op::IsComplete),
        1 => Just(Op::IsWanted),
    ]
}

/// What the completer left.
type Outcome = Result<u8, Fault>;

/// How far the wait of a task is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    None,
    /// It sleeps; with which waker.
    Sleeps(bool),
    /// The value came first.
    Notified,
    /// The stop came first.
    Stopped,
}

/// The specification.
struct Model {
    has_completer: bool,
    has_completion: bool,
    /// What is there for the completion.
    value: Option<Outcome>,
    /// It was given out: another wait finds the completer gone.
    is_taken: bool,
    wait: Wait,
    is_stopped: bool,
    is_phase_stopped: bool,
}

impl Model {
    /// What a wait that is over at once gives; `None` if it would sleep.
    fn early(&mut self, is_stopped: bool) -> Option<Result<Outcome, ()>> {
        // Nothing to wait for: no domain ends it.
        if self.is_taken {
            return Some(Ok(Err(Fault::Abandoned)));
        }
        if is_stopped {
            return Some(Err(()));
        }
        self.take().map(Ok)
    }

    fn take(&mut self) -> Option<Outcome> {
        let value = self.value.take();
        if value.is_some() {
            // A task's wait that had begun goes with it.
            (self.is_taken, self.wait) = (true, Wait::None);
        }
        value
    }

    fn poll(&mut self, waker: bool) -> Option<Result<Outcome, ()>> {
        match std::mem::replace(&mut self.wait, Wait::None) {
            Wait::None => {
                let early = self.early(self.is_stopped);
                if early.is_none() {
                    self.wait = Wait::Sleeps(waker);
                }
                early
            }
            Wait::Sleeps(_) => {
                self.wait = Wait::Sleeps(waker);
                None
            }
            Wait::Notified => self.take().map(Ok),
            Wait::Stopped => Some(Err(())),
        }
    }

    /// A wait whose deadline has passed.
    fn wait(&mut self, is_stopped: bool) -> Result<Outcome, WaitError> {
        match self.early(is_stopped) {
            Some(early) => early.map_err(|()| WaitError::Stopped),
            None => {
                // It takes the place of a task's wait that had begun.
                self.wait = Wait::None;
                Err(WaitError::TimedOut)
            }
        }
    }

    /// The completer says something: whether it is taken, and which waker is woken.
    fn finish(&mut self, outcome: Outcome) -> (bool, Option<bool>) {
        self.has_completer = false;
        if !self.has_completion {
            return (false, None);
        }
        self.value = Some(outcome);
        match self.wait {
            Wait::Sleeps(waker) => {
                self.wait = Wait::Notified;
                (true, Some(waker))
            }
            _ => (true, None),
        }
    }

    fn request(&mut self) -> Option<bool> {
        let is_first = !std::mem::replace(&mut self.is_stopped, true);
        match self.wait {
            Wait::Sleeps(waker) if is_first => {
                self.wait = Wait::Stopped;
                Some(waker)
            }
            _ => None,
        }
    }
}

/// The real thing.
struct Real {
    completer: Option<Completer<Value, Fault>>,
    completion: Option<Completion<Value, Fault>>,
    stop: Stop,
    phase: Stop,
    wakers: [Arc<Flag>; 2],
}

fn plain(result: Result<Value, Fault>) -> Outcome {
    result.map(|value| value.0)
}

/// Runs a sequence on both. The values that are made all count in `alive`.
fn run(ops: &[Op], alive: &Arc<()>) -> Result<(), TestCaseError> {
    let (stop, phase) = (Stop::new("life"), Stop::new("phase"));
    let (completer, completion) = Completion::new("read", &stop);
    let mut real = Real {
        completer: Some(completer),
        completion: Some(completion),
        stop,
        phase,
        wakers: [Flag::new(), Flag::new()],
    };
    let mut model = Model {
        has_completer: true,
        has_completion: true,
        value: None,
        is_taken: false,
        wait: Wait::None,
        is_stopped: false,
        is_phase_stopped: false,
    };
    for op in ops {
        let woken = step(*op, &mut real, &mut model, alive)?;
        for waker in [false, true] {
            let (flag, expected) = (&real.wakers[usize::from(waker)], woken == Some(waker));
            prop_assert!(!expected || flag.is_soon_woken(), "{op:?}: nobody is woken");
            prop_assert_eq!(flag.count(), usize::from(expected), "{:?}: who is woken", op);
            flag.take();
        }
    }
    drop(real);
    prop_assert_eq!(Arc::strong_count(alive), 1, "every value is dropped");
    Ok(())
}

/// One operation on both: which waker has to be woken by it.
fn step(op: Op, real: &mut Real, model: &mut Model, alive: &Arc<()>) -> Result<Option<bool>, TestCaseError> {
    match op {
        Op::Poll(waker) => {
            if let Some(completion) = &mut real.completion {
                let flag = real.wakers[usize::from(waker)].waker();
                let polled = match Pin::new(completion).poll(&mut Context::from_waker(&flag)) {
                    Poll::Ready(result) => Some(result.map(plain).map_err(drop)),
                    Poll::Pending => None,
                };
                prop_assert_eq!(polled, model.poll(waker));
            }
        }
        Op::Complete(n) => {
            if let Some(completer) = real.completer.take() {
                let given = completer.complete(Value(n, Arc::clone(alive)));
                let (is_taken, woken) = model.finish(Ok(n));
                prop_assert_eq!(given.map_err(|value| value.0), if is_taken { Ok(()) } else { Err(n) });
                return Ok(woken);
            }
        }
        Op::Fail(n) => {
            if let Some(completer) = real.completer.take() {
                let given = completer.fail(Fault::Said(n));
                let (is_taken, woken) = model.finish(Err(Fault::Said(n)));
                prop_assert_eq!(given, if is_taken { Ok(()) } else { Err(Fault::Said(n)) });
                return Ok(woken);
            }
        }
        Op::Abandon => {
            if real.completer.take().is_some() {
                return Ok(model.finish(Err(Fault::Abandoned)).1);
            }
        }
        Op::Cancel => {
            if let Some(completion) = real.completion.take() {
                model.has_completion = false;
                model.wait = Wait::None;
                prop_assert_eq!(completion.cancel().map(plain), model.take());
            }
        }
        Op::Forget => {
            real.completion = None;
            (model.has_completion, model.wait, model.value) = (false, Wait::None, None);
        }
        Op::Wait => {
            if let Some(completion) = &mut real.completion {
                let waited = completion.wait_until(Instant::now()).map(plain);
                prop_assert_eq!(waited, model.wait(model.is_stopped));
            }
        }
        Op::WaitInPhase => {
            if let Some(completion) = &mut real.completion {
                let waited = completion.wait_in_until(&real.phase, Instant::now()).map(plain);
                // Once the result was given out there is nothing that the domain could end, but a domain that is over is looked at first.
                let expected = match model.is_phase_stopped {
                    true => Err(WaitError::Stopped),
                    false => model.wait(false),
                };
                prop_assert_eq!(waited, expected);
            }
        }
        Op::Request => {
            let is_first = !model.is_stopped;
            let woken = model.request();
            prop_assert_eq!(real.stop.request("test"), is_first);
            return Ok(woken);
        }
        Op::RequestPhase => {
            real.phase.request("test");
            model.is_phase_stopped = true;
        }
        Op::IsComplete => {
            if let Some(completion) = &real.completion {
                prop_assert_eq!(completion.is_complete(), model.value.is_some() || model.is_taken);
            }
        }
        Op::IsWanted => {
            if let Some(completer) = &real.completer {
                prop_assert_eq!(completer.is_wanted(), model.has_completion);
            }
        }
    }
    Ok(None)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_completion_does_what_its_specification_says(ops in vec(op(), 0..24)) {
        // A wait that hangs is a failure.
        let (alive, trying) = (Arc::new(()), ops.clone());
        let outcome = Arc::new(std::sync::Mutex::new(Ok(())));
        let told = Arc::clone(&outcome);
        guarded(move || {
            let found = run(&trying, &alive);
            *told.lock().expect("nobody panics with it") = found;
        });
        let found = outcome.lock().expect("nobody panics with it").clone();
        found?;
    }
}
